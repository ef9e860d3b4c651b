"""DiT: the class-conditional diffusion transformer the host lacks.

Peebles and Xie, *Scalable Diffusion Models with Transformers* (facebookresearch/DiT). Parameter names are those
of the released checkpoints, the parts are the host's (`comfy/ldm/modules/diffusionmodules/mmdit.py`), so LoRA,
offloading and low-precision weights work as they do for every other model.
"""

from dataclasses import asdict, dataclass

import torch
from einops import rearrange
from torch import nn

import comfy.ldm.common_dit
import comfy.ops
from comfy.ldm.modules.attention import optimized_attention
from comfy.ldm.modules.diffusionmodules.mmdit import (
    FinalLayer,
    Mlp,
    PatchEmbed,
    TimestepEmbedder,
    get_1d_sincos_pos_embed_from_grid_torch,
)
from comfy.patcher_extension import WrapperExecutor, WrappersMP, get_all_wrappers

SMALLEST_TIME = 50      # of 1000: below it a velocity said by the picture would be that picture's error, many times over


@dataclass(frozen=True)
class DiTShape:
    """Sizes of a DiT, all read from its state dict.

    `grid` is the side, in tokens, of the square grid it was trained on; `classes` excludes the null class.
    """
    in_channels: int
    out_channels: int
    patch_size: int
    hidden_size: int
    depth: int
    num_heads: int
    mlp_hidden: int
    classes: int
    grid: int

    def as_unet_config(self) -> dict:
        return asdict(self)


def through_wrappers(forward, model, x, *args, **kwargs):
    """A model's forward inside the host's DIFFUSION_MODEL wrappers, as that of the host's own models (`comfy/ldm/flux/model.py`).

    The last of `args` is the transformer options: by that place EasyCache finds them. It also adds to its input, hence the copy:
    in float32 x is the latent itself, from which the host goes on to work out its prediction.
    """
    wrappers = get_all_wrappers(WrappersMP.DIFFUSION_MODEL, args[-1])
    return WrapperExecutor.new_class_executor(forward, model, wrappers).execute(x.clone() if wrappers else x, *args, **kwargs)


def modulate(x, shift, scale):
    """x (B, n, D), shift and scale (B, 1, D) or one per token."""
    return torch.addcmul(shift, x, 1 + scale)


class Attention(nn.Module):
    """Norm, modulation and self-attention in one module: where its output is reused, none of them costs anything."""

    def __init__(self, dim, num_heads, dtype=None, device=None, operations=None):
        super().__init__()
        self.num_heads = num_heads
        self.norm_in = operations.LayerNorm(dim, elementwise_affine=False, eps=1e-6, dtype=dtype, device=device)
        self.qkv = operations.Linear(dim, dim * 3, dtype=dtype, device=device)
        self.proj = operations.Linear(dim, dim, dtype=dtype, device=device)

    def forward(self, x, shift, scale, transformer_options={}):
        q, k, v = self.qkv(modulate(self.norm_in(x), shift, scale)).chunk(3, dim=-1)                       # (B, N, D) each
        return self.proj(optimized_attention(q, k, v, self.num_heads, transformer_options=transformer_options))


class ModulatedMlp(Mlp):
    """Norm, modulation and MLP in one module, so that all three are computed for the fresh tokens only."""

    def __init__(self, dim, hidden, dtype=None, device=None, operations=None):
        super().__init__(dim, hidden, act_layer=lambda: nn.GELU(approximate="tanh"), dtype=dtype, device=device, operations=operations)
        self.norm_in = operations.LayerNorm(dim, elementwise_affine=False, eps=1e-6, dtype=dtype, device=device)

    def forward(self, x, shift, scale):
        return super().forward(modulate(self.norm_in(x), shift, scale))


class DiTBlock(nn.Module):
    def __init__(self, dim, num_heads, mlp_hidden, dtype=None, device=None, operations=None):
        super().__init__()
        kw = dict(dtype=dtype, device=device, operations=operations)
        self.attn = Attention(dim, num_heads, **kw)
        self.mlp = ModulatedMlp(dim, mlp_hidden, **kw)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), operations.Linear(dim, 6 * dim, dtype=dtype, device=device))

    def forward(self, x, c, transformer_options={}):
        modulation = self.adaLN_modulation(c).unsqueeze(1)
        shift1, scale1, gate1, shift2, scale2, gate2 = modulation.chunk(6, dim=2)                       # (B, 1, D) each
        x = torch.addcmul(x, gate1, self.attn(x, shift1, scale1, transformer_options))
        return torch.addcmul(x, gate2, self.mlp(x, shift2, scale2))


class LabelEmbedder(nn.Module):
    def __init__(self, classes, dim, dtype=None, device=None, operations=None):
        super().__init__()
        self.embedding_table = operations.Embedding(classes + 1, dim, dtype=dtype, device=device)       # the last row is the null class

    def forward(self, labels):
        return self.embedding_table(labels)


class DiT(nn.Module):
    """Noise-predicting transformer over the patches of a latent.

    Args: the fields of `DiTShape`; `operations` is the host's set of layers (`comfy.ops`). Where `says_picture`, the blocks end
    in the clean picture, and the model returns the velocity of rectified flow that follows from it.
    """

    def __init__(self, in_channels, out_channels, patch_size, hidden_size, depth, num_heads, mlp_hidden, classes, grid,
                 says_picture=False, image_model=None, dtype=None, device=None, operations=None):
        super().__init__()
        kw = dict(dtype=dtype, device=device, operations=operations)
        self.dtype, self.says_picture = dtype, says_picture
        self.in_channels, self.out_channels = in_channels, out_channels
        self.patch_size, self.hidden_size, self.classes, self.grid = patch_size, hidden_size, classes, grid
        self.x_embedder = PatchEmbed(None, patch_size, in_channels, hidden_size, **kw)
        self.t_embedder = TimestepEmbedder(hidden_size, **kw)
        self.y_embedder = LabelEmbedder(classes, hidden_size, **kw)
        self.pos_embed = nn.Parameter(torch.empty(1, grid * grid, hidden_size, dtype=dtype, device=device), requires_grad=False)
        self.blocks = nn.ModuleList([DiTBlock(hidden_size, num_heads, mlp_hidden, **kw) for _ in range(depth)])
        self.final_layer = FinalLayer(hidden_size, patch_size, out_channels, **kw)

    def forward(self, x, timesteps, context=None, control=None, y=None, transformer_options={}, **kwargs):
        """x (B, C, H, W), timesteps (B,) in 0..1000, y (B, 1) class labels -> predicted noise or velocity (B, C, H, W)."""
        return through_wrappers(self._forward, self, x, timesteps, context, control, y, transformer_options, **kwargs)

    def _forward(self, x, timesteps, context, control, y, transformer_options, **kwargs):
        height, width = x.shape[-2:]
        rows, cols = -(-height // self.patch_size), -(-width // self.patch_size)

        tokens = self.x_embedder(x).contiguous()                    # (B, N, D), N = rows * cols; else sums keep the channels outermost
        tokens = tokens + self.position(rows, cols, tokens)
        c = self.t_embedder(timesteps, tokens.dtype) + self.y_embedder(y.flatten().long()).to(tokens.dtype)     # (B, D)
        for block in self.blocks:
            tokens = block(tokens, c, transformer_options)
        tokens = self.final_layer(tokens, c)                        # (B, N, p * p * C_out)
        output = self.unpatchify(tokens, rows, cols)[:, :self.in_channels, :height, :width]
        if not self.says_picture:
            return output
        return (x - output) * (1000 / timesteps.clamp_min(SMALLEST_TIME)).to(x.dtype)[:, None, None, None]

    def position(self, rows, cols, like):
        """The stored embedding on the trained grid, else sine-cosine positions stretched over the trained extent, (1, N, D)."""
        if (rows, cols) == (self.grid, self.grid):
            return comfy.ops.cast_to_input(self.pos_embed, like)
        return stretched_sincos(self.hidden_size, rows, cols, self.grid, like.device).to(like.dtype)

    def unpatchify(self, tokens, rows, cols):
        return rearrange(tokens, "b (h w) (p q c) -> b c (h p) (w q)", h=rows, w=cols, p=self.patch_size, q=self.patch_size)


def stretched_sincos(dim, rows, cols, grid, device=None):
    """2D sine-cosine embedding (1, rows * cols, dim) whose positions span 0..grid on both axes; the columns' half comes first."""
    y = torch.arange(rows, device=device, dtype=torch.float32) * (grid / rows)
    x = torch.arange(cols, device=device, dtype=torch.float32) * (grid / cols)
    y, x = torch.meshgrid(y, x, indexing="ij")
    halves = [get_1d_sincos_pos_embed_from_grid_torch(dim // 2, axis, device=device) for axis in (x, y)]
    return torch.cat(halves, dim=1).unsqueeze(0)
