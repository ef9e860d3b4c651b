"""What the mask nodes put on a MODEL, whether before or after ToCa Cache, and what a run makes of it.

It lies in the model options, which every clone copies; the objects there are never changed.
"""

from dataclasses import dataclass

import torch

from ...toca_core.select.regions import MASK_SHARE_LIMIT, Region, noise_area, painted
from ..systems.sizes import grid_of, patch_of

MASK_KEY, PRIORITY_KEY = "toca_token_mask", "toca_region_priority"


@dataclass(frozen=True)
class TokenMask:
    """mask (m, H, W) in 0..1; dilation in tokens."""
    mask: torch.Tensor
    dilation: int


@dataclass(frozen=True)
class RegionPriority:
    """map (m, H, W) in 0..1; a token's score counts 1 + strength x map times."""
    map: torch.Tensor
    strength: float


def with_option(model, key: str, value):
    """A clone of a MODEL that carries a value for the run."""
    model = model.clone()
    model.model_options.setdefault("transformer_options", {})[key] = value
    return model


def sides(latent):
    """(frames or None, (H, W), batch) of a latent (B, C, [frames,] H, W)."""
    return latent.shape[2] if latent.ndim == 5 else None, tuple(latent.shape[-2:]), latent.shape[0]


def region_of(options: dict, noise_mask, latent, diffusion_model, dilation: int):
    """-> (the run's Region or None, whether its tokens are computed at every step).

    A user's mask goes before a noise mask, which is only refreshed where it is small enough to pay.
    """
    if latent.ndim not in (4, 5):                                   # sound, points, or several latents packed into one
        return None, False
    given, patch = options.get(MASK_KEY), patch_of(diffusion_model)
    if given is not None:
        region = Region(painted(given.mask.cpu(), *sides(latent)) > 0, given.dilation, patch, given=True)
        return (region, True) if region.share > 0 else (None, False)
    if noise_mask is None:
        return None, False
    region = Region(noise_area(noise_mask), dilation, patch)
    return (region, region.share <= MASK_SHARE_LIMIT) if region.share > 0 else (None, False)


def priority_of(options: dict, latent, diffusion_model):
    """What multiplies the scores of the picture's tokens, (b, N), or None."""
    given = options.get(PRIORITY_KEY)
    if given is None or latent.ndim not in (4, 5):
        return None
    frames, height, width = grid_of(diffusion_model, latent.shape)
    moments = frames if latent.ndim == 5 else None
    return 1 + given.strength * painted(given.map.cpu(), moments, (height, width), latent.shape[0]).flatten(1)
