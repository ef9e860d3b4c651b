"""DiT (Peebles & Xie, 2023): class-conditional, the first model that ToCa was published for."""

from ...toca_core import published
from ...toca_core.costs.account import Sizes
from ...toca_core.families.sequential import SequentialStack
from ...toca_core.system import System, Usual
from ..models.dit import DiT as Model
from .attention import attending_last

DIT = System(
    "dit", "DiT", (f"{Model.__module__}.DiT",),
    stacks=(SequentialStack({"self_attn": "attn", "mlp": "mlp"}, {"self_attn": ("qkv",)}, attending=attending_last),),
    per_token=("x_embedder", "final_layer.linear"), says_picture=lambda model: model.says_picture,
    paper=published.dit,
    usual=Usual((28,), Sizes(2, (1, 16, 16)), 2, "256 px, one picture, guidance"),
    loader="ToCa Load DiT")
