"""The third demo model as the host runs it: a Wan of its own class, small, on RGB pixels. Files are those of `clips_task.py`."""

from pathlib import Path

import torch

from demo import clips
from tools.pack import ROOT, load_host, pack_module

load_host(cpu=not torch.cuda.is_available())
import comfy.supported_models

loading, dit_loader = pack_module("nodes.models.loading"), pack_module("nodes.models.dit_loader")
FILE = ROOT / "benchmarks/clips_wan.safetensors"
PATCH = (1, 4, 4)
HEAD = 32


class PixelClips(dit_loader.PixelSpace):
    """Clips are (B, 3, frames, H, W) in -1..1, on either side of the model."""
    latent_dimensions = 3


class ClipsConfig(comfy.supported_models.WAN21_T2V):
    """Wan 2.1's settings, with the shift of a small picture."""
    latent_format = PixelClips
    sampling_settings = {"shift": 3.0}
    memory_usage_factor = 2.0 / (PATCH[1] * PATCH[2])


def unet_config(dim: int, ffn_dim: int, layers: int) -> dict:
    """The arguments of `comfy.ldm.wan.model.WanModel`."""
    return {"image_model": "wan2.1", "model_type": "t2v", "patch_size": PATCH, "text_len": clips.TOKENS, "in_dim": 3, "out_dim": 3,
            "dim": dim, "ffn_dim": ffn_dim, "freq_dim": 256, "text_dim": clips.CHANNELS, "num_heads": dim // HEAD, "num_layers": layers}


def load_clips(path: str, disable_dynamic: bool = False):
    """A file of `clips_task.py` -> ModelPatcher. Raises CheckpointError for any other file, FileNotFoundError with the remedy."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} is missing: restore it from the repository, or make it with python run.py train --model frames, "
                                f"then --model clips --resume {path}.")
    weights, _ = loading.read_checkpoint(path)
    loading.require(path, weights, {"blocks.0.ffn.0.weight": 2}, "model of the demo's clips")
    ffn, dim = weights["blocks.0.ffn.0.weight"].shape
    config = ClipsConfig(unet_config(dim, ffn, loading.depth_of(path, weights, "blocks")))
    patcher = loading.make_patcher(path, weights, config, "default", disable_dynamic)
    patcher.cached_patcher_init = (load_clips, (path,))
    return patcher


def conditioning(captions: list[str]):
    """The host's CONDITIONING of one caption a clip; [""] is what guidance steers away from."""
    return [[clips.embed(clips.indices(captions)), {}]]
