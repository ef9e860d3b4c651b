"""AuraFlow; eight registers lie with the text."""

from ...toca_core import published
from ...toca_core.families.parts import Part
from ...toca_core.system import System
from .attention import parts

AURA_FLOW = System(
    "aura_flow", "AuraFlow", ("comfy.ldm.aura.mmdit.MMDiT",),
    (parts("double_layers", ("c", "x"), "x", name="double", parts=(
        Part("self_attn", "attn", {"txt": "c", "img": "x"}, text=("w1q", "w1k", "w1v", "w1o")),
        Part("mlp", "mlpX", {"img": 0}), Part("mlp", "mlpC", {"txt": 0}))),
     parts("single_layers", "cx", side="last", name="single", parts=(Part("self_attn", "attn"), Part("mlp")))), loader="Load Checkpoint",
    paper=lambda steps: published.FLUX, paper_of="FLUX.1")
