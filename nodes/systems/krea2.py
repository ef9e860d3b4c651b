"""Krea 2; text, picture and references lie in one stream."""

from ...toca_core import published
from ...toca_core.families.parts import Part
from ...toca_core.system import System
from .attention import parts
from .sizes import joined_sizes

KREA2 = System(
    "krea2", "Krea 2", ("comfy.ldm.krea2.model.SingleStreamDiT",),
    (parts("blocks", grid="", parts=(Part("self_attn", "attn"), Part("mlp"))),), sizes=joined_sizes,
    paper=lambda steps: published.FLUX, paper_of="FLUX.1")
