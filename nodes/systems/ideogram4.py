"""Ideogram 4; text lies before the picture, and the unconditional call has none."""

from ...toca_core.families.tokens import TokenStack
from ...toca_core.system import System
from .sizes import joined_sizes

IDEOGRAM4 = System(
    "ideogram4", "Ideogram 4", ("comfy.ldm.ideogram4.model.Ideogram4Transformer2DModel",),
    (TokenStack("layers", grid="last"),), sizes=joined_sizes)
