"""Lumina 2, NewBie and Z-Image; text, picture and padding lie in one stream, and the refiners before it run on every step."""

from ...toca_core.families.tokens import TokenStack
from ...toca_core.system import System
from .sizes import joined_sizes

LUMINA = System(
    "lumina", "Lumina 2, NewBie, Z-Image", ("comfy.ldm.lumina.model.NextDiT", "comfy.ldm.lumina.model.NextDiTPixelSpace"),
    (TokenStack("layers", grid=""),), sizes=joined_sizes, says_picture=lambda model: type(model).__name__ == "NextDiTPixelSpace")
