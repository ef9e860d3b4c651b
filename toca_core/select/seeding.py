"""Seeds as torch and the host have them: 64 bits, after the largest of which the smallest comes."""

import torch

SEEDS = 2 ** 64


def following(seed: int, offset: int) -> int:
    """The seed so many after another one, 0..2**64 - 1."""
    return (seed + offset) % SEEDS


def generator(device, seed: int) -> torch.Generator:
    """Of any whole number, however large."""
    return torch.Generator(device).manual_seed(following(seed, 0))
