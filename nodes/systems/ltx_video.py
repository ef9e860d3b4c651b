"""LTX-Video; LTX 2 draws picture and sound in two streams of different width."""

from ...toca_core.families.tokens import TokenStack
from ...toca_core.system import System

LTX_VIDEO = System("ltx_video", "LTX-Video", ("comfy.ldm.lightricks.model.LTXVModel",), (TokenStack("transformer_blocks"),))

LTX2 = System(
    "ltx2", "LTX-2", ("comfy.ldm.lightricks.av_model.LTXAVModel",),
    notes="picture and sound are two streams of different width, of which level stack would keep one")
