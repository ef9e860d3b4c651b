"""HunyuanVideo 1.0 and 1.5, HunyuanImage 2.1: FLUX's blocks; the refiner of the text runs on every step."""

from ...toca_core.families.tokens import TokenStack
from ...toca_core.system import System

HUNYUAN_VIDEO = System(
    "hunyuan_video", "HunyuanVideo, HunyuanImage 2.1", ("comfy.ldm.hunyuan_video.model.HunyuanVideo",),
    (TokenStack("double_blocks", ("img", "txt"), "img", grid="last"), TokenStack("single_blocks", side="last")))
