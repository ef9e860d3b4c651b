"""Open-Sora 1.2 (STDiT3), which ToCa was published for: spatial and temporal blocks by turns."""

from ...toca_core import published
from ...toca_core.costs.account import Sizes
from ...toca_core.families.sequential import SequentialStack
from ...toca_core.system import System, Usual
from ..models.stdit3 import STDiT3


def in_frames(sizes):
    return sizes.grid[0], sizes.grid[1] * sizes.grid[2]


def along_time(sizes):
    return sizes.grid[1] * sizes.grid[2], sizes.grid[0]


def blocks(name, attends):
    return SequentialStack({"self_attn": "attn", "cross_attn": "cross_attn", "mlp": "mlp"}, {"cross_attn": ("q_linear", "kv_linear")},
                           name=name, path=f"{name}_blocks", attends=attends, mask=1)


OPEN_SORA = System(
    "open_sora", "Open-Sora 1.2", (f"{STDiT3.__module__}.STDiT3",),
    stacks=(blocks("spatial", in_frames), blocks("temporal", along_time)),
    per_token=("x_embedder", "final_layer.linear"), per_context=("y_embedder",),
    paper=lambda steps: published.OPEN_SORA,
    usual=Usual((28, 28), Sizes(2, (15, 30, 53), 0, 600), 2, "51 frames at 480p, guidance"),
    loader="ToCa Load Open-Sora")
