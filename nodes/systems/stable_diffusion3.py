"""Stable Diffusion 3 and 3.5; the last block returns no text."""

from ...toca_core import published
from ...toca_core.families.parts import Inline, Part
from ...toca_core.system import System
from .attention import attending_named, parts

SD3 = System(
    "sd3", "Stable Diffusion 3, 3.5", ("comfy.ldm.modules.diffusionmodules.mmdit.OpenAISignatureMMDITWrapper",),
    (parts("joint_blocks", (0, 1), 1, parts=(
        Inline({"txt": "context_block.attn.qkv", "img": "x_block.attn.qkv"}, {"txt": "context_block.attn.proj", "img": "x_block.attn.proj"},
               {"txt": 0, "img": 1}),
        Inline({"img": "x_block.attn2.qkv"}, {"img": "x_block.attn2.proj"}, {"img": 1}, "img_attn2", optional=True),
        Part("mlp", "x_block.mlp", {"img": 0}), Part("mlp", "context_block.mlp", {"txt": 0}, optional=True)),
           attending=attending_named),), loader="Load Checkpoint",
    paper=lambda steps: published.FLUX, paper_of="FLUX.1")
