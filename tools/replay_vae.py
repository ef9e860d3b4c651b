"""Replay a recording of Open-Sora 1.2's VAE and of its sampler's times through this pack's own, and compare.

What was recorded stands in the tensors' names: `framesF.*` a clip of F frames, `times.HxW.framesF.stepsS` the times of one run.
"""

import math
import re

import torch
from safetensors import safe_open

import comfy.utils

from tools.pack import pack_module


def is_vae_recording(io_path: str) -> bool:
    with safe_open(io_path, "pt") as file:
        return any(re.match(r"frames\d+\.|times\.", name) for name in file.keys())  # noqa: SIM118, no dict


def load(weights_path: str, metadata: dict):
    """The VAE that users run, with the recorded temporal half; no recording holds the image half."""
    vae = pack_module("nodes.models.open_sora_vae")
    weights = comfy.utils.load_torch_file(weights_path, safe_load=True)
    weights = vae.released_layout({vae.TEMPORAL + key.removeprefix(vae.TEMPORAL): value for key, value in weights.items()})
    model = vae.OpenSoraVAE(torch.nn.Identity(), vae.temporal_sizes(weights_path, weights, metadata)).eval()
    model.load_state_dict(weights)
    return model


def difference(got, expected) -> float:
    """Relative L2; infinite where the shapes differ or something is no number."""
    relative = ((got - expected).norm() / expected.norm()).item() if got.shape == expected.shape else math.inf
    return relative if math.isfinite(relative) else math.inf


@torch.inference_mode()
def replay(weights: str, io_path: str) -> dict:
    """-> {"family", "max_rel"}: the largest relative difference (L2) of any latent, decoded latent or list of times."""
    with safe_open(io_path, "pt") as file:
        metadata, tensors = file.metadata() or {}, {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118, no dict
    model, schedule, found = load(weights, metadata), pack_module("nodes.models.open_sora_schedule"), []
    for name, expected in tensors.items():
        if match := re.fullmatch(r"frames(\d+)\.latent", name):
            found.append(difference(model.compress(tensors[f"frames{match[1]}.spatial_latent"]), expected))
        elif match := re.fullmatch(r"frames(\d+)\.decoded_spatial_latent", name):
            chunks = model.expand(tensors[f"frames{match[1]}.latent"], int(match[1]))
            found.append(difference(torch.cat(list(chunks), dim=2), expected))
        elif match := re.fullmatch(r"times\.(\d+)x(\d+)\.frames(\d+)\.steps(\d+)", name):
            height, width, frames, steps = map(int, match.groups())
            found.append(difference(torch.tensor(schedule.sampling_times(steps, height, width, frames)), expected))
    if not found:
        raise SystemExit(f"{io_path} holds nothing to compare: no framesF.latent, framesF.decoded_spatial_latent or times.*.")
    return {"family": "opensora_vae", "max_rel": max(found)}
