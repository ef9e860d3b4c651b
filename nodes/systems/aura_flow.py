"""AuraFlow; eight registers lie with the text."""

from dataclasses import replace

from ...toca_core import published
from ...toca_core.costs.account import Sizes
from ...toca_core.families.parts import Part
from ...toca_core.system import System
from .attention import attending_named, parts
from .sizes import latent_sizes


def with_registers(model, x, context, arguments) -> Sizes:
    sizes = latent_sizes(model, x, context, arguments)
    return replace(sizes, context=sizes.context + sizes.batch * model.register_tokens.shape[1])


AURA_FLOW = System(
    "aura_flow", "AuraFlow", ("comfy.ldm.aura.mmdit.MMDiT",),
    (parts("double_layers", ("c", "x"), "x", name="double", parts=(
        Part("self_attn", "attn", {"txt": "c", "img": "x"}, text=("w1q", "w1k", "w1v", "w1o")),
        Part("mlp", "mlpX", {"img": 0}), Part("mlp", "mlpC", {"txt": 0})),
           attending=attending_named),
     parts("single_layers", "cx", side="last", name="single", parts=(Part("self_attn", "attn"), Part("mlp")), attending=attending_named)),
    sizes=with_registers, loader="Load Checkpoint", paper=lambda steps: published.FLUX, paper_of="FLUX.1")
