"""VAEs with random weights in small files, for tests and trials that need a picture or a video at the end and no matter which."""

from pathlib import Path

import torch
from safetensors.torch import save_file

from .pack import pack_module

OPEN_SORA = {"channels": 4, "hidden_channels": 4, "latent_channels": 4, "filters": 8, "res_blocks": 1, "multipliers": (1, 2, 2, 4),
             "halves": (False, True, True), "groups": 8}
OPEN_SORA_IMAGES = {"double_z": True, "z_channels": 4, "resolution": 256, "in_channels": 3, "out_ch": 3, "ch": 32, "ch_mult": [1, 1, 1, 1],
                    "num_res_blocks": 1, "attn_resolutions": [], "dropout": 0.0}


def tiny_vae(path: Path, channels: int = 4, seed: int = 0) -> Path:
    """Write to `path` the smallest VAE that the host's VAELoader builds from a file (TAESD, about 10 MB); gives `path` back.

    channels: of the latent, such as 4 for SD-1.5's and 16 for FLUX's. Needs the host on the path (`tools.pack.load_host`).
    """
    import comfy.taesd.taesd

    weights = comfy.taesd.taesd.TAESD(latent_channels=channels).state_dict()                # layers come with whatever was in memory
    torch.save(random_weights(weights, seed), path)
    return Path(path)


def tiny_open_sora_vae(path: Path, seed: int = 0) -> Path:
    """Write to `path` an Open-Sora 1.2 VAE of both halves, about 3 MB (.safetensors); gives `path` back.

    The image half has the host's key names. Needs the host on the path.
    """
    from comfy.ldm.models.autoencoder import AutoencoderKL
    vae = pack_module("nodes.models.open_sora_vae")
    with torch.device("meta"):
        model = vae.OpenSoraVAE(AutoencoderKL(ddconfig=OPEN_SORA_IMAGES, embed_dim=4), vae.TemporalSizes(**OPEN_SORA))
    weights = {key: value for key, value in model.state_dict().items() if key not in ("shift", "scale")}   # left to the released ones
    save_file(random_weights(weights, seed), path, {"num_groups": str(OPEN_SORA["groups"])})
    return Path(path)


def random_weights(weights: dict, seed: int) -> dict:
    """Convolutions under which the scale of what goes through stays, norms near 1, small biases; numbers of no shape as they are."""
    generator = torch.Generator().manual_seed(seed)

    def values(key, shape):
        spread = shape[1:].numel() ** -0.5 if len(shape) > 1 else 0.1
        return torch.randn(shape, generator=generator) * spread + (len(shape) == 1 and key.endswith("weight"))

    return {key: values(key, weight.shape) if weight.ndim else weight for key, weight in weights.items()}
