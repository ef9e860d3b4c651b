"""LTX-Video; LTX 2 draws picture and sound in two streams of different width."""

from ...toca_core import published
from ...toca_core.families.parts import Part
from ...toca_core.system import System
from .attention import parts

LTX_VIDEO = System("ltx_video", "LTX-Video", ("comfy.ldm.lightricks.model.LTXVModel",), (parts("transformer_blocks", parts=(
    Part("self_attn", "attn1"), Part("cross_attn", "attn2", text=("to_k", "to_v")), Part("mlp", "ff"))),),
    paper=lambda steps: published.OPEN_SORA, paper_of="Open-Sora")

LTX2 = System(
    "ltx2", "LTX-2", ("comfy.ldm.lightricks.av_model.LTXAVModel",),
    notes="picture and sound are two streams of different width, of which level stack would keep one")
