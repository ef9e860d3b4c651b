"""HunyuanVideo 1.0 and 1.5, HunyuanImage 2.1: FLUX's blocks; the refiner of the text runs on every step."""

from ...toca_core import published
from ...toca_core.families.joint import JointStack
from ...toca_core.families.parallel import ParallelStack
from ...toca_core.system import System
from .attention import attending_named, watch_attention
from .linear import later_outputs

HUNYUAN_VIDEO = System(
    "hunyuan_video", "HunyuanVideo, HunyuanImage 2.1", ("comfy.ldm.hunyuan_video.model.HunyuanVideo",),
    (JointStack("double", "double_blocks", watch_attention, attending_named, "last"),
     ParallelStack("single", "single_blocks", watch_attention, attending_named, later_outputs)),
    paper=lambda steps: published.FLUX, paper_of="FLUX.1")
