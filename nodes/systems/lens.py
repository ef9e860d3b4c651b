"""Lens."""

from ...toca_core.families.tokens import TokenStack
from ...toca_core.system import System

LENS = System(
    "lens", "Lens", ("comfy.ldm.lens.model.LensTransformer2DModel",),
    (TokenStack("transformer_blocks", ("encoder_hidden_states", "hidden_states"), "hidden_states"),))
