"""Cosmos 1, whose tokens have their batch on the fourth axis, Cosmos Predict 2 and Anima."""

from ...toca_core import published
from ...toca_core.families.parts import Part
from ...toca_core.families.tokens import TokenStack
from ...toca_core.system import System
from .attention import attending_first, parts, rows_of

COSMOS = System("cosmos", "Cosmos 1", ("comfy.ldm.cosmos.model.GeneralDIT",), (TokenStack("blocks", batch_axis=3),))


def single(arguments, call):
    """Positions are of each token, modulations of each frame; what is added to tokens has their axes."""
    arguments = rows_of("emb_B_T_D", "adaln_lora_B_T_3D", "rope_emb_L_1_1_D")(arguments, call)
    if arguments.get("extra_per_block_pos_emb") is not None:
        arguments["extra_per_block_pos_emb"] = call.cut(arguments["extra_per_block_pos_emb"].flatten(1, 3))[:, :, None, None]
    return arguments


COSMOS_PREDICT2 = System(
    "cosmos_predict2", "Cosmos Predict 2, Anima", ("comfy.ldm.cosmos.predict2.MiniTrainDIT", "comfy.ldm.anima.model.Anima"),
    (parts("blocks", "x_B_T_H_W_D", parts=(
        Part("self_attn"), Part("cross_attn", text=("k_proj", "v_proj")), Part("mlp")), attending=attending_first, single=single),),
    paper=lambda steps: published.PIXART, paper_of="PixArt")
