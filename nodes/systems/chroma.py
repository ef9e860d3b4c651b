"""Chroma: FLUX's blocks with modulations from an approximator, which runs on every step; Radiance, in pixels, decodes on every step too."""

from ...toca_core import published
from ...toca_core.families.joint import JointStack
from ...toca_core.families.parallel import ParallelStack
from ...toca_core.families.tokens import TokenStack
from ...toca_core.system import System
from .attention import attending_named, watch_attention
from .linear import later_outputs

CHROMA = System(
    "chroma", "Chroma", ("comfy.ldm.chroma.model.Chroma",),
    (JointStack("double", "double_blocks", watch_attention, attending_named, "alone", "skip_mmdit"),
     ParallelStack("single", "single_blocks", watch_attention, attending_named, later_outputs, "alone", "skip_dit")),
    paper=lambda steps: published.FLUX, paper_of="FLUX.1")

CHROMA_RADIANCE = System(
    "chroma_radiance", "Chroma Radiance", ("comfy.ldm.chroma_radiance.model.ChromaRadiance",),
    (TokenStack("double_blocks", ("img", "txt"), "img", left_out="skip_mmdit"),
     TokenStack("single_blocks", side="last", left_out="skip_dit")), says_picture=lambda model: hasattr(model, "__x0__"))
