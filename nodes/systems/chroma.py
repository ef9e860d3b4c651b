"""Chroma: FLUX's blocks with modulations from an approximator, which runs on every step; Radiance, in pixels, decodes on every step too."""

from ...toca_core.families.tokens import TokenStack
from ...toca_core.system import System

CHROMA = System(
    "chroma", "Chroma, Chroma Radiance", ("comfy.ldm.chroma.model.Chroma", "comfy.ldm.chroma_radiance.model.ChromaRadiance"),
    (TokenStack("double_blocks", ("img", "txt"), "img", left_out="skip_mmdit"),
     TokenStack("single_blocks", side="last", left_out="skip_dit")), says_picture=lambda model: hasattr(model, "__x0__"))
