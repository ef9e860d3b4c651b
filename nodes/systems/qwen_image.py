"""Qwen-Image, Edit and Layered, and Mage-Flow, which is made of its blocks; text comes out first."""

from ...toca_core import published
from ...toca_core.families.parts import Part
from ...toca_core.system import System
from .attention import attending_named, parts


def single(arguments, call):
    """Positions are of the text and of each token of the picture."""
    text = arguments["encoder_hidden_states"].shape[1]
    return {**arguments, "image_rotary_emb": call.take_positions(arguments["image_rotary_emb"], text)}


QWEN_IMAGE = System(
    "qwen_image", "Qwen-Image, Edit, Layered; Mage-Flow",
    ("comfy.ldm.qwen_image.model.QwenImageTransformer2DModel", "comfy.ldm.mage_flow.model.MageFlowTransformer2DModel"),
    (parts("transformer_blocks", ("encoder_hidden_states", "hidden_states"), "hidden_states", grid="first", parts=(
        Part("self_attn", "attn", {"img": "hidden_states", "txt": "encoder_hidden_states"}, among=("txt", "img"),
             text=("add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")),
        Part("mlp", "img_mlp", {"img": 0}), Part("mlp", "txt_mlp", {"txt": 0})), attending=attending_named, single=single),),
    paper=lambda steps: published.FLUX, paper_of="FLUX.1")
