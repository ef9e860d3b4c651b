"""CogVideoX, whose blocks return the picture first."""

from ...toca_core.families.tokens import TokenStack
from ...toca_core.system import System

COGVIDEO = System(
    "cogvideo", "CogVideoX", ("comfy.ldm.cogvideo.model.CogVideoXTransformer3DModel",),
    (TokenStack("blocks", ("hidden_states", "encoder_hidden_states")),))
