"""Transformers of 3D shapes."""

import torch

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


@tiny(of="comfy.ldm.triposplat.model.LatentSeqMMFlowModel")
def triposplat():
    """Points, channels last, and a camera; the picture comes twice, as what a vision encoder saw and as a latent."""
    sizes = dict(q_token_length=32, in_channels=16, model_channels=64, cond_channels=32, out_channels=16, num_blocks=4,
                 num_refiner_blocks=1, num_head_channels=16, cond2_channels=128, mlp_ratio=2)
    model = build("TripoSplat", sizes)
    for name, parameter in model.model.diffusion_model.named_parameters():
        if name.endswith("gamma"):
            parameter.data = 1 + 0.1 * random(*parameter.shape)
    model.model.diffusion_model.pos_emb.copy_(random(1, 32, 64))
    return Tiny(model, conditioned(32, reference_latents=[random(1, 128, 2, 2)]), ((32, 16), (1, 5)))
