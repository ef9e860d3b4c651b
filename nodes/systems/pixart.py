"""PixArt-alpha, which ToCa was published for, and PixArt-Sigma."""

from ...toca_core import published
from ...toca_core.costs.account import Sizes
from ...toca_core.families.sequential import SequentialStack
from ...toca_core.system import System, Usual
from ..models.pixart import PixArtAnySize

PIXART = System(
    "pixart", "PixArt", ("comfy.ldm.pixart.pixartms.PixArtMS", f"{PixArtAnySize.__module__}.PixArtAnySize"),
    stacks=(SequentialStack({"self_attn": "attn", "cross_attn": "cross_attn", "mlp": "mlp"},
                            {"self_attn": ("qkv",), "cross_attn": ("q_linear", "kv_linear")},
                            norms={"self_attn": "norm1", "mlp": "norm2"}),),
    per_token=("x_embedder", "final_layer.linear"), per_context=("y_embedder",),
    paper=lambda steps: published.PIXART,
    usual=Usual((28,), Sizes(2, (1, 64, 64), 0, 600), 2, "1024 px, one picture, guidance"),
    loader="ToCa Load PixArt")
