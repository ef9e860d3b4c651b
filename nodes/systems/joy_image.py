"""JoyImage; the picture comes out first."""

from ...toca_core.families.tokens import TokenStack
from ...toca_core.system import System

JOY_IMAGE = System(
    "joy_image", "JoyImage", ("comfy.ldm.joyimage.model.JoyImageTransformer3DModel",),
    (TokenStack("double_blocks", ("hidden_states", "encoder_hidden_states"), grid="first"),))
