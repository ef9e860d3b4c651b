"""Reads the demo's class back from a picture, by geometry alone: which pixels stand out, in which colour, in which outline."""

from functools import lru_cache

import torch

from demo import shapes

CONTRAST = 0.2                      # chroma above which a pixel can belong to an object; the background stays below 0.1
PEAK_SHARE = 0.01                   # share of the pixels taken to be the object's strongest; the smallest triangle covers 0.046


def read(picture) -> tuple[str, str, float]:
    """A picture (3, H, W) in 0..1 -> (colour, shape, confidence).

    The confidence is the overlap (intersection over union) of the object found with the ideal shape; 0 where there is no object,
    and colour and shape are then empty.
    """
    picture = torch.as_tensor(picture, dtype=torch.float32)
    mask = object_mask(picture)                                     # (H, W)
    if not mask.any():
        return "", "", 0.0
    overlaps = {shape: overlap(mask, ideal_mask(mask, shape)) for shape in shapes.SHAPES}
    shape = max(overlaps, key=overlaps.get)
    return nearest_colour(picture[:, mask].mean(1)), shape, overlaps[shape]


def object_mask(picture):
    """The pixels at least half as colourful as the most colourful ones, (3, H, W) -> (H, W) bool."""
    chroma = picture.amax(0) - picture.amin(0)
    strongest = chroma.flatten().topk(max(1, int(PEAK_SHARE * chroma.numel()))).values.mean()
    return chroma > max(CONTRAST, strongest / 2)


def nearest_colour(colour) -> str:
    """The palette's colour nearest to a mean colour (3,)."""
    return min(shapes.COLOURS, key=lambda name: (torch.tensor(shapes.COLOURS[name]) - colour).norm().item())


def ideal_mask(mask, shape: str):
    """`shape` with the area and the centroid of a mask (H, W)."""
    rows, columns = (axis.float() for axis in mask.nonzero(as_tuple=True))
    y, x = (torch.arange(side, dtype=torch.float32) for side in mask.shape)
    radius = (rows.numel() / unit_area(shape)) ** 0.5
    return shapes.distance(shape, x[None, :] - columns.mean(), y[:, None] - rows.mean(), radius) < 0


@lru_cache
def unit_area(shape: str) -> float:
    """The area of a shape of radius 1, counted on a fine grid."""
    axis = (torch.arange(512) + 0.5) / 256 - 1
    return 4 * (shapes.distance(shape, axis[None, :], axis[:, None], 1.0) < 0).float().mean().item()


def overlap(one, other) -> float:
    return ((one & other).sum() / (one | other).sum()).item()
