"""The second demo model as the host runs it: a FLUX of its own class, small, on RGB pixels. Files are those of `scenes_task.py`."""

import torch

from demo import scenes
from tools.pack import load_host, pack_module

load_host(cpu=not torch.cuda.is_available())
import comfy.supported_models

loading, dit_loader = pack_module("nodes.models.loading"), pack_module("nodes.models.dit_loader")
AXES = [8, 28, 28]                  # channels of a head that turn with picture, row and column; in FLUX.1's proportions
PATCH = 4


class ScenesConfig(comfy.supported_models.FluxSchnell):
    """FLUX.1 schnell's settings: velocity of a rectified flow over times 0..1, no shift, no embedded guidance."""
    latent_format = dit_loader.PixelSpace
    memory_usage_factor = 2.0 / PATCH ** 2                          # as the pack's DiT


def unet_config(hidden_size: int, depth: int, depth_single_blocks: int) -> dict:
    """The arguments of `comfy.ldm.flux.model.Flux`."""
    return {"image_model": "flux", "in_channels": 3, "out_channels": 3, "patch_size": PATCH, "hidden_size": hidden_size,
            "num_heads": hidden_size // sum(AXES), "axes_dim": AXES, "theta": 10000, "depth": depth,
            "depth_single_blocks": depth_single_blocks, "mlp_ratio": 4.0, "qkv_bias": True, "guidance_embed": False,
            "context_in_dim": scenes.CHANNELS, "vec_in_dim": len(scenes.WORDS), "txt_ids_dims": []}


def load_scenes(path: str, disable_dynamic: bool = False):
    """A file of `scenes_task.py` -> ModelPatcher. Raises CheckpointError for any other file."""
    weights, _ = loading.read_checkpoint(path)
    loading.require(path, weights, {"img_in.weight": 2}, "model of the demo's scenes")
    depths = (loading.depth_of(path, weights, stack) for stack in ("double_blocks", "single_blocks"))
    config = ScenesConfig(unet_config(len(weights["img_in.weight"]), *depths))
    patcher = loading.make_patcher(path, weights, config, "default", disable_dynamic)
    patcher.cached_patcher_init = (load_scenes, (path,))
    return patcher


def conditioning(captions: list[str]):
    """The host's CONDITIONING of one caption a picture; [""] is what guidance steers away from."""
    context, pooled = scenes.embed(scenes.indices(captions))
    return [[context, {"pooled_output": pooled}]]
