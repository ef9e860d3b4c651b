"""A VAE with random weights in a file of about 10 MB, for tests that need a picture at the end and no matter which."""

from pathlib import Path

import torch


def tiny_vae(path: Path, channels: int = 4, seed: int = 0) -> Path:
    """Write to `path` the smallest VAE that the host's VAELoader builds from a file (TAESD, 8 pixels a latent); gives `path` back.

    channels: of the latent, such as 4 for SD-1.5's and 16 for FLUX's. Needs the host on the path (`tools.pack.load_host`).
    """
    import comfy.taesd.taesd

    generator = torch.Generator().manual_seed(seed)
    weights = comfy.taesd.taesd.TAESD(latent_channels=channels).state_dict()                # layers come with whatever was in memory
    torch.save({name: random_weight(weight.shape, generator) if weight.ndim else weight for name, weight in weights.items()}, path)
    return Path(path)


def random_weight(shape: torch.Size, generator: torch.Generator) -> torch.Tensor:
    """A convolution's weights, so that the scale of what goes through it stays, and a bias to go with them."""
    return torch.randn(shape, generator=generator) * (shape[1:].numel() ** -0.5 if len(shape) > 1 else 0.1)
