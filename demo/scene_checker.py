"""Reads a scene back from a picture: the patches that stand out, from left to right, each read as `checker.py` reads one object."""

import torch

from demo import checker

SMALLEST = 16                       # pixels of a patch that counts as an object; the smallest triangle covers 55


def read(picture) -> str:
    """A picture (3, H, W) in 0..1 -> the caption that it shows; "" where nothing stands out."""
    picture = torch.as_tensor(picture, dtype=torch.float32)
    found = [checker.read(picture * patch)[:2] for patch in patches(picture.amax(0) - picture.amin(0) > checker.CONTRAST)]
    return ", ".join(f"{colour} {shape}" for colour, shape in found)


def patches(mask) -> list[torch.Tensor]:
    """The connected parts of a mask (H, W), from left to right by their middle, those of under SMALLEST pixels left out."""
    number = torch.arange(1.0, mask.numel() + 1).view(mask.shape) * mask                    # the highest of a part spreads through it
    while True:
        column, row = (torch.nn.functional.max_pool2d(number[None], kernel, 1, [side // 2 for side in kernel])[0]
                       for kernel in ((3, 1), (1, 3)))
        spread = torch.maximum(column, row) * mask
        if torch.equal(spread, number):
            break
        number = spread
    parts = [number == value for value in number[mask].unique()]
    return sorted((part for part in parts if part.sum() >= SMALLEST), key=lambda part: part.nonzero()[:, 1].float().mean().item())
