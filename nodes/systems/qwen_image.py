"""Qwen-Image, Edit and Layered, and Mage-Flow, which is made of its blocks; text comes out first."""

from ...toca_core.families.tokens import TokenStack
from ...toca_core.system import System

QWEN_IMAGE = System(
    "qwen_image", "Qwen-Image, Edit, Layered; Mage-Flow",
    ("comfy.ldm.qwen_image.model.QwenImageTransformer2DModel", "comfy.ldm.mage_flow.model.MageFlowTransformer2DModel"),
    (TokenStack("transformer_blocks", ("encoder_hidden_states", "hidden_states"), "hidden_states", grid="first"),))
