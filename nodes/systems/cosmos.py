"""Cosmos 1, whose tokens have their batch on the fourth axis, Cosmos Predict 2 and Anima."""

from ...toca_core import published
from ...toca_core.families.parts import Part
from ...toca_core.families.tokens import TokenStack
from ...toca_core.system import System
from .attention import parts

COSMOS = System("cosmos", "Cosmos 1", ("comfy.ldm.cosmos.model.GeneralDIT",), (TokenStack("blocks", batch_axis=3),))

COSMOS_PREDICT2 = System(
    "cosmos_predict2", "Cosmos Predict 2, Anima", ("comfy.ldm.cosmos.predict2.MiniTrainDIT", "comfy.ldm.anima.model.Anima"),
    (parts("blocks", "x_B_T_H_W_D", parts=(
        Part("self_attn"), Part("cross_attn", text=("k_proj", "v_proj")), Part("mlp"))),),
    paper=lambda steps: published.PIXART, paper_of="PixArt")
