"""OmniGen2; text and references come before the picture, and the refiners run on every step."""

from ...toca_core.families.tokens import TokenStack
from ...toca_core.system import System
from .sizes import joined_sizes

OMNIGEN2 = System(
    "omnigen2", "OmniGen2", ("comfy.ldm.omnigen.omnigen2.OmniGen2Transformer2DModel",),
    (TokenStack("layers", "hidden_states", grid="last"),), sizes=joined_sizes)
