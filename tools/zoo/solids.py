"""Transformers of 3D shapes."""

import torch

import comfy.nested_tensor
from tools.zoo.building import Tiny, build, random, tiny
from tools.zoo.flux import conditioned


@tiny(of="comfy.ldm.hunyuan3d.model.Hunyuan3Dv2")
def hunyuan3d():
    """The latent is a row of points: (B, C, N)."""
    sizes = dict(in_channels=64, context_in_dim=32, hidden_size=64, mlp_ratio=2.0, num_heads=2, depth=2, depth_single_blocks=3,
                 qkv_bias=True, guidance_embed=False)
    return Tiny(build("Hunyuan3Dv2", sizes), conditioned(32), (64, 32), (64, 27))


@tiny(of="comfy.ldm.hunyuan3dv2_1.hunyuandit.HunYuanDiTPlain")
def hunyuan3d21():
    """Long skips between the two halves of its blocks; experts in the last; a token of time before the points."""
    sizes = dict(in_channels=64, hidden_size=64, context_dim=32, depth=5, num_heads=2, qk_norm=True, qkv_bias=False, num_moe_layers=2,
                 guidance_cond_proj_dim=64, num_experts=2, moe_top_k=1)
    return Tiny(build("Hunyuan3Dv2_1", sizes), conditioned(32), (64, 32), (64, 27))
