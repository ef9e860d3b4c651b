"""FLUX.1, which ToCa was published for, and what the host runs in the same class."""

from ...toca_core import published
from ...toca_core.costs.account import Sizes
from ...toca_core.families.joint import JointStack
from ...toca_core.families.parallel import ParallelStack
from ...toca_core.system import System, Usual
from .attention import attending_named, watch_attention
from .linear import later_outputs

FLUX = System(
    "flux", "FLUX.1, Kontext, Fill, FLUX.2", ("comfy.ldm.flux.model.Flux",),
    stacks=(JointStack("double", "double_blocks", watch_attention, attending_named),
            ParallelStack("single", "single_blocks", watch_attention, attending_named, later_outputs)),
    per_token=("img_in", "final_layer.linear"), per_context=("txt_in",),
    paper=lambda steps: published.FLUX,
    usual=Usual((19, 38), Sizes(1, (1, 64, 64), 0, 512), 1, "1024 px, one picture"))
