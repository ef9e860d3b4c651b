"""Krea 2; text, picture and references lie in one stream."""

from ...toca_core.families.tokens import TokenStack
from ...toca_core.system import System
from .sizes import joined_sizes

KREA2 = System("krea2", "Krea 2", ("comfy.ldm.krea2.model.SingleStreamDiT",), (TokenStack("blocks", grid=""),), sizes=joined_sizes)
