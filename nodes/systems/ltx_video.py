"""LTX-Video; LTX 2 draws picture and sound in two streams of different width."""

from ...toca_core import published
from ...toca_core.families.parts import Part
from ...toca_core.system import System
from .attention import attending_first, parts


def single(arguments, call):
    """Positions are for each token, in a tuple with how they are written; modulations for all of them, or for each."""
    positions = tuple(call.cut(part) if hasattr(part, "shape") else part for part in arguments["pe"])
    return {**arguments, "pe": positions, "timestep": call.cut(arguments["timestep"])}


BLOCKS = parts("transformer_blocks", parts=(
    Part("self_attn", "attn1"), Part("cross_attn", "attn2", text=("to_k", "to_v")), Part("mlp", "ff")),
    attending=attending_first, single=single)

LTX_VIDEO = System("ltx_video", "LTX-Video", ("comfy.ldm.lightricks.model.LTXVModel",), (BLOCKS,),
    text_masked=True, paper=lambda steps: published.OPEN_SORA, paper_of="Open-Sora")

LTX2 = System(
    "ltx2", "LTX-2", ("comfy.ldm.lightricks.av_model.LTXAVModel",),
    notes="picture and sound are two streams of different width, of which level stack would keep one")
