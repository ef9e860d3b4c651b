"""How much memory decoding a clip with Open-Sora 1.2's VAE takes, at its released sizes, on the CPU.

    python run.py memory [--frames 51] [--height 480] [--width 854] [--dtype bf16]

Weights and latents are random, the sizes are the released ones, and the path is that of the host's VAE Decode. Prints one JSON
line: the process's peak, and its share above what it held before decoding. Linux only.
"""

import argparse
import json
import sys
import time
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent))
from tools.pack import load_host, pack_module  # noqa: E402

load_host()
import torch  # noqa: E402

from comfy.ldm.models.autoencoder import AutoencoderKL  # noqa: E402

vae_module, schedule = pack_module("nodes.models.open_sora_vae"), pack_module("nodes.models.open_sora_schedule")

TEMPORAL = {"channels": 4, "hidden_channels": 4, "latent_channels": 4, "filters": 128, "res_blocks": 4, "multipliers": (1, 2, 2, 4),
            "halves": (False, True, True), "groups": 32}
SPATIAL = {"double_z": True, "z_channels": 4, "resolution": 256, "in_channels": 3, "out_ch": 3, "ch": 128, "ch_mult": [1, 2, 4, 4],
           "num_res_blocks": 2, "attn_resolutions": [], "dropout": 0.0}


def released_shapes() -> dict:
    with torch.device("meta"):
        model = vae_module.OpenSoraVAE(AutoencoderKL(ddconfig=SPATIAL, embed_dim=4), vae_module.TemporalSizes(**TEMPORAL))
    return {key: value.shape for key, value in model.state_dict().items()}


def random_vae(dtype: str):
    generator = torch.Generator().manual_seed(0)
    weights = {key: torch.randn(shape, generator=generator).mul_(max(1, shape[1:].numel()) ** -0.5).to(vae_module.DTYPES[dtype])
               for key, shape in released_shapes().items()}
    return vae_module.make_vae("random weights", weights, {}, dtype)


def resident(field: str) -> float:
    """GB that the process holds (VmRSS), or has held at most (VmHWM)."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field + ":")]
    return int(line.split()[1]) * 1024 / 1e9


def measure(frames: int, height: int, width: int, dtype: str) -> dict:
    vae = random_vae(dtype)
    latent = torch.randn(1, 4, schedule.latent_length(frames), height // 8, width // 8, generator=torch.Generator().manual_seed(1))
    Path("/proc/self/clear_refs").write_text("5")                   # forgets the peak of making the weights
    before, began = resident("VmRSS"), time.perf_counter()
    with torch.inference_mode():
        images = vae.decode(latent)
    return {"latent": list(latent.shape), "images": list(images.shape), "dtype": dtype, "threads": torch.get_num_threads(),
            "seconds": round(time.perf_counter() - began, 1), "peak_gb": round(resident("VmHWM"), 2), "before_gb": round(before, 2),
            "above_gb": round(resident("VmHWM") - before, 2), "finite": bool(images.isfinite().all())}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="run.py memory", description="Peak memory of decoding with Open-Sora 1.2's VAE on the CPU.")
    parser.add_argument("--frames", type=int, default=51)
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--width", type=int, default=854)
    parser.add_argument("--dtype", choices=["bf16", "fp32"], default="bf16")
    given = parser.parse_args()
    print(json.dumps(measure(given.frames, given.height, given.width, given.dtype)))
