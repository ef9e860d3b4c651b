"""HunyuanVideo 1.0 and 1.5, HunyuanImage 2.1: FLUX's blocks; the refiner of the text runs on every step."""

from ...toca_core import published
from ...toca_core.families.joint import JointStack
from ...toca_core.families.parallel import ParallelStack
from ...toca_core.system import System
from .attention import attending_named, watch_attention
from .linear import later_outputs
from .sizes import latent_sizes


def sizes(model, x, context, arguments):
    """The tokens of a reference picture (HunyuanCustom) come before the video's."""
    reference = arguments.get("ref_latent")
    return latent_sizes(model, x, context, {**arguments, "ref_latents": () if reference is None else (reference,)})


HUNYUAN_VIDEO = System(
    "hunyuan_video", "HunyuanVideo, HunyuanImage 2.1", ("comfy.ldm.hunyuan_video.model.HunyuanVideo",),
    (JointStack("double", "double_blocks", watch_attention, attending_named, "last"),
     ParallelStack("single", "single_blocks", watch_attention, attending_named, later_outputs)),
    sizes=sizes, paper=lambda steps: published.FLUX, paper_of="FLUX.1")
