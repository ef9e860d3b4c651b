"""PixArt at any size: the host's model and blocks, with positions that also work below 34x34 latents.

The host derives the position base from the latent's size, rounded to 64; at 256 px that is 0 and it divides by it
(`comfy/ldm/pixart/pixartms.py`). Here the base comes from the checkpoint.
"""

import math
from typing import NamedTuple

import torch

import comfy.latent_formats
import comfy.model_base
import comfy.model_detection
import comfy.supported_models
from comfy.ldm.pixart.pixartms import PixArtMS, get_2d_sincos_pos_embed_torch

from .loading import CheckpointError, depth_of, heads_of, make_patcher, patch_of, read_checkpoint, require, sizes_understood

RELEASED_HEADS = {1152: 16}
DIFFUSERS_KEY = "adaln_single.emb.timestep_embedder.linear_1.bias"
KEYS = {"x_embedder.proj.weight": 4, "t_block.1.weight": 2, "y_embedder.y_proj.fc1.weight": 2, "blocks.0.scale_shift_table": 2,
        "blocks.0.cross_attn.kv_linear.weight": 2, "blocks.0.mlp.fc1.weight": 2, "final_layer.scale_shift_table": 2,
        "final_layer.linear.weight": 2}
OPTIONAL = {"y_embedder.y_embedding": 2, "pos_embed": 3}


class Version(NamedTuple):
    """What a version was trained on. `position_extent`: as of `PixArtAnySize`, where the file stores no positions."""
    latent_format: type
    caption_tokens: int
    position_extent: int


VERSIONS = {"PixArt-alpha": Version(comfy.latent_formats.SD15, 120, 32), "PixArt-alpha 256": Version(comfy.latent_formats.SD15, 120, 16),
            "PixArt-Sigma": Version(comfy.latent_formats.SDXL, 300, 32)}


class PixArtAnySize(PixArtMS):
    """`position_extent`: the positions of a picture run from 0 to it on both axes, as in training."""

    def __init__(self, position_extent=32, image_model=None, **config):
        super().__init__(**config)
        self.position_extent = position_extent

    def forward_orig(self, x, timestep, y, mask=None, c_size=None, c_ar=None, **kwargs):
        """x (B, C, H, W), timestep (B,), y (B, 1, L, D_caption) -> (B, 2 C, H, W)."""
        height, width = x.shape[-2:]
        rows, cols = (-(-side // self.patch_size) for side in (height, width))
        position = get_2d_sincos_pos_embed_torch(
            self.hidden_size, h=rows, w=cols, base_size=self.position_extent, device=x.device, dtype=x.dtype)
        tokens = self.x_embedder(x).contiguous() + position         # (B, N, D); a cut last patch is padded
        t = self.t_embedder(timestep, x.dtype)                      # (B, D)
        if self.micro_conditioning:
            t = t + torch.cat([self.csize_embedder(c_size, x.shape[0]), self.ar_embedder(c_ar, x.shape[0])], dim=1)
        modulation = self.t_block(t)                                # (B, 6 D)
        caption = self.y_embedder(y, self.training).view(1, -1, self.hidden_size)                               # (1, B * L, D)
        size = rows * self.patch_size, cols * self.patch_size
        for block in self.blocks:
            tokens = block(tokens, caption, modulation, None, size)
        return self.unpatchify(self.final_layer(tokens, t), *size)[:, :, :height, :width]


class PixArtConfig(comfy.supported_models.PixArtAlpha):
    def __init__(self, unet_config: dict, latent_format):
        super().__init__(unet_config)
        self.latent_format = latent_format()

    def get_model(self, state_dict, prefix="", device=None):
        return PixArtModel(self, device=device).eval()


class PixArtModel(comfy.model_base.PixArt):
    def __init__(self, model_config, device=None):
        comfy.model_base.BaseModel.__init__(self, model_config, comfy.model_base.ModelType.EPS, device=device, unet_model=PixArtAnySize)


def config_of(path: str, weights: dict, metadata: dict, num_heads: int = 0, version: str = "auto") -> PixArtConfig:
    """Every size from the weights; alpha and Sigma differ in caption length, latents and position base."""
    require(path, weights, KEYS, "PixArt checkpoint", OPTIONAL)
    hidden, channels, patch = patch_of(path, weights)
    trained = VERSIONS[version_of(path, weights) if version == "auto" else version]
    tokens = len(weights["y_embedder.y_embedding"]) if "y_embedder.y_embedding" in weights else trained.caption_tokens
    return PixArtConfig({
        "image_model": "toca_pixart", "in_channels": channels, "patch_size": patch, "hidden_size": hidden,
        "depth": depth_of(path, weights), "num_heads": heads_of(path, hidden, num_heads, metadata, RELEASED_HEADS),
        "caption_channels": weights["y_embedder.y_proj.fc1.weight"].shape[1], "model_max_length": tokens,
        "micro_condition": "csize_embedder.mlp.0.weight" in weights,
        "pred_sigma": weights["final_layer.linear.weight"].shape[0] == 2 * channels * patch ** 2,
        "mlp_ratio": weights["blocks.0.mlp.fc1.weight"].shape[0] / hidden,
        "position_extent": ("pos_embed" in weights and trained_extent(path, weights["pos_embed"])) or trained.position_extent,
    }, trained.latent_format)


def version_of(path: str, weights: dict) -> str:
    """The null caption's length tells, in files that hold one; else, only alpha's model for 1024 px embeds the picture's size."""
    if "y_embedder.y_embedding" in weights:
        return "PixArt-Sigma" if len(weights["y_embedder.y_embedding"]) == VERSIONS["PixArt-Sigma"].caption_tokens else "PixArt-alpha"
    if "csize_embedder.mlp.0.weight" in weights:
        return "PixArt-alpha"
    raise CheckpointError(f"{path} does not show whether it is PixArt-alpha or PixArt-Sigma; set version.")


def extent_of(pos_embed) -> float:
    """How far the positions of a stored embedding (1, N, D) run: its fastest column wave holds sin and cos of the step itself."""
    grid, dim = round(pos_embed.shape[1] ** 0.5), pos_embed.shape[2]
    step = torch.atan2(pos_embed[0, 1, 0].float(), pos_embed[0, 1, dim // 4].float())
    return round(grid * step.item(), 2)


def trained_extent(path: str, pos_embed) -> float:
    """As `extent_of`, 0 where nothing but zeros is stored."""
    positions, dim = pos_embed.shape[1:]
    extent = extent_of(pos_embed) if positions > 1 and dim % 4 == 0 and math.isqrt(positions) ** 2 == positions else -1.0
    if not 0 <= extent < math.inf:
        raise CheckpointError(f"{path}: its pos_embed are no positions of a square grid; download it again, or load a file without them.")
    return extent


def original_layout(weights: dict) -> dict:
    """The authors' key names; the host converts those of diffusers. A key it does not know stays, to be refused by name later."""
    rest = dict(weights)                                            # the host takes out what it converts
    return {**(comfy.model_detection.convert_diffusers_mmdit(rest, "") or {}), **rest} if DIFFUSERS_KEY in weights else weights


def fitted(path: str, weights: dict, metadata: dict, num_heads: int = 0, version: str = "auto") -> tuple[PixArtConfig, dict]:
    """A file's weights -> the config and, under the authors' names, the weights that fit its model to the last key."""
    if DIFFUSERS_KEY in weights:
        depth_of(path, weights, "transformer_blocks")               # before the host counts them in its own way
    with sizes_understood(path):
        weights = original_layout(weights)
    config = config_of(path, weights, metadata, num_heads, version)
    caption = config.unet_config["model_max_length"], config.unet_config["caption_channels"]
    weights = {"y_embedder.y_embedding": torch.zeros(caption), **weights}
    weights.pop("pos_embed", None)                                  # positions are computed
    return config, weights


def load_pixart(path: str, weight_dtype: str = "default", version: str = "auto", num_heads: int = 0, disable_dynamic: bool = False):
    """A PixArt checkpoint in the original or the diffusers layout -> ModelPatcher. Raises CheckpointError for any other file."""
    weights, metadata = read_checkpoint(path)
    config, weights = fitted(path, weights, metadata, num_heads, version)
    patcher = make_patcher(path, weights, config, weight_dtype, disable_dynamic)
    patcher.cached_patcher_init = (load_pixart, (path, weight_dtype, version, num_heads))
    return patcher
