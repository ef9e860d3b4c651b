"""Small stand-ins for packages that the authors' models import; none of them has a part in the caching.

They always stand in, so that a recording does not depend on what is installed. Each does what the package's class of that name does, as
far as these models use it. Left unused by these models: DropPath (at rate 0), Registry (a list of classes), file downloads.
"""

import types

import torch
from einops import rearrange, repeat
from torch import nn


class Mlp(nn.Module):
    """timm"""

    def __init__(self, in_features, hidden_features=None, out_features=None, act_layer=nn.GELU, drop=0.0):
        super().__init__()
        hidden_features = hidden_features or in_features
        self.fc1 = nn.Linear(in_features, hidden_features)
        self.act = act_layer()
        self.fc2 = nn.Linear(hidden_features, out_features or in_features)

    def forward(self, x):
        return self.fc2(self.act(self.fc1(x)))


class PatchEmbed(nn.Module):
    """timm"""

    def __init__(self, img_size, patch_size, in_chans, embed_dim, bias=True):
        super().__init__()
        self.patch_size, self.num_patches = (patch_size, patch_size), (img_size // patch_size) ** 2
        self.proj = nn.Conv2d(in_chans, embed_dim, patch_size, stride=patch_size, bias=bias)

    def forward(self, x):
        return self.proj(x).flatten(2).transpose(1, 2)              # (B, C, H, W) -> (B, N, D)


class Attention(nn.Module):
    """timm: the layers; the authors' subclass has a forward of its own."""

    def __init__(self, dim, num_heads=8, qkv_bias=False):
        super().__init__()
        self.num_heads, self.head_dim = num_heads, dim // num_heads
        self.qkv, self.proj = nn.Linear(dim, 3 * dim, bias=qkv_bias), nn.Linear(dim, dim)
        self.attn_drop, self.proj_drop = nn.Dropout(0.0), nn.Dropout(0.0)


class BlockDiagonalMask:
    """xformers: each picture's tokens see its own caption."""

    def __init__(self, q_seqlen, kv_seqlen):
        self.lengths = list(zip(q_seqlen, kv_seqlen, strict=True))

    @classmethod
    def from_seqlens(cls, q_seqlen, kv_seqlen):
        return cls(q_seqlen, kv_seqlen)

    def materialize(self, shape, dtype, device):
        mask = torch.full(shape[-2:], -torch.inf, dtype=dtype, device=device)
        row = column = 0
        for rows, columns in self.lengths:
            mask[row:row + rows, column:column + columns] = 0
            row, column = row + rows, column + columns
        return mask.expand(shape)


class RotaryEmbedding(nn.Module):
    """rotary_embedding_torch, over the length of the sequence."""

    def __init__(self, dim):
        super().__init__()
        self.freqs = nn.Parameter(10000.0 ** (-torch.arange(0, dim, 2).float() / dim), requires_grad=False)

    def rotate_queries_or_keys(self, x):
        angles = repeat(torch.outer(torch.arange(x.shape[-2]).to(self.freqs), self.freqs), "n d -> n (d two)", two=2)
        even, odd = rearrange(x, "... (d two) -> two ... d", two=2)
        return x * angles.cos() + torch.stack((-odd, even), dim=-1).flatten(-2) * angles.sin()


class Registry:
    """mmcv, mmengine"""

    def __init__(self, *args, **kwargs):
        pass

    def register_module(self, *args, **kwargs):
        return lambda registered: registered


class PreTrainedModel(nn.Module):
    """transformers"""

    def __init__(self, config):
        super().__init__()
        self.config = config


class PretrainedConfig:
    """transformers"""

    def __init__(self, **kwargs):
        pass


TIMM = {"timm.models.vision_transformer": {"Mlp": Mlp, "PatchEmbed": PatchEmbed, "Attention": Attention},
        "timm.models.layers": {"DropPath": nn.Identity}, "timm.layers": {"use_fused_attn": lambda: False}}
XFORMERS = {"xformers.ops.fmha.attn_bias": {"BlockDiagonalMask": BlockDiagonalMask},
            "xformers.ops.fmha": {"BlockDiagonalMask": BlockDiagonalMask}}
DIT = TIMM
PIXART = {**TIMM, **XFORMERS, "mmcv": {"Registry": Registry}, "diffusion.utils.logger": {"get_root_logger": None}}
OPEN_SORA = {
    **TIMM, **XFORMERS, "mmengine.registry": {"Registry": Registry}, "rotary_embedding_torch": {"RotaryEmbedding": RotaryEmbedding},
    "transformers": {"PretrainedConfig": PretrainedConfig, "PreTrainedModel": PreTrainedModel},
    "diffusers.models": {"AutoencoderKL": None, "AutoencoderKLTemporalDecoder": None},
    "opensora.utils.ckpt_utils": {"load_checkpoint": None}}


def modules(contents: dict) -> dict:
    """{"a.b": {name: value}} -> modules `a` and `a.b`, each an attribute of the one above."""
    made: dict = {}
    for path, names in contents.items():
        parts = path.split(".")
        for count in range(1, len(parts) + 1):
            name = ".".join(parts[:count])
            if name not in made:
                made[name] = types.ModuleType(name)
                made[name].__path__ = []
                if count > 1:
                    setattr(made[".".join(parts[:count - 1])], parts[count - 1], made[name])
        vars(made[path]).update(names)
    return made
