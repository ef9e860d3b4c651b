"""ERNIE-Image; the picture lies before the text."""

from dataclasses import replace

from ...toca_core import published
from ...toca_core.families.parts import Part
from ...toca_core.system import System
from .attention import parts
from .sizes import joined_sizes

ERNIE_IMAGE = System(
    "ernie_image", "ERNIE-Image", ("comfy.ldm.ernie.model.ErnieImageModel",),
    (parts("layers", grid="first", parts=(Part("self_attn", "self_attention", seen=False), Part("mlp"))),), sizes=joined_sizes,
    paper=lambda steps: replace(published.FLUX, score="random"), paper_of="FLUX.1")
