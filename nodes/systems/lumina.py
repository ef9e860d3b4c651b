"""Lumina 2, NewBie and Z-Image; text, picture and padding lie in one stream, and the refiners before it run on every step."""

from ...toca_core import published
from ...toca_core.families.parts import Part
from ...toca_core.system import System
from .attention import parts
from .sizes import joined_sizes

LUMINA = System(
    "lumina", "Lumina 2, NewBie, Z-Image", ("comfy.ldm.lumina.model.NextDiT", "comfy.ldm.lumina.model.NextDiTPixelSpace"),
    (parts("layers", grid="", parts=(Part("self_attn", "attention"), Part("mlp", "feed_forward"))),),
    sizes=joined_sizes, says_picture=lambda model: type(model).__name__ == "NextDiTPixelSpace",
    paper=lambda steps: published.FLUX, paper_of="FLUX.1")
