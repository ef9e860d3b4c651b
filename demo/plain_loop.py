"""Caching a torch model in a loop of one's own, without ComfyUI: needs nothing but torch, numpy and einops.

    python demo/plain_loop.py

The model is a small transformer with random weights, so its pictures mean nothing; what is shown is the call, and what it saves.
"""

import itertools
import sys
from pathlib import Path

import torch
from torch import nn

sys.path.append(str(Path(__file__).resolve().parent.parent))

import toca_core

STEPS, WIDTH = 30, 64


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attention = nn.MultiheadAttention(WIDTH, 4, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))

    def forward(self, x, time):
        h = self.norm1(x) * (1 + time)
        x = x + self.attention(h, h, h, need_weights=False)[0]
        return x + self.mlp(self.norm2(x) * (1 + time))


class Denoiser(nn.Module):
    """Pictures (B, 4, H, W) and a noise level -> the velocity of rectified flow, the same shape."""

    def __init__(self, depth: int = 8):
        super().__init__()
        self.inward, self.outward, self.time = nn.Linear(4, WIDTH), nn.Linear(WIDTH, 4), nn.Linear(1, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(depth))

    def forward(self, x, sigma: float):
        tokens = self.inward(x.flatten(2).transpose(1, 2))          # (B, N, C)
        time = self.time(x.new_tensor([[[sigma]]]))
        for block in self.blocks:
            tokens = block(tokens, time)
        return self.outward(tokens).transpose(1, 2).reshape(x.shape)


def sample(model, noise, predict):
    """Euler's steps from noise; predict(sigma, x) gives the velocity."""
    x = noise
    for sigma, following in itertools.pairwise(torch.linspace(1, 0, STEPS + 1).tolist()):
        x = x + (following - sigma) * predict(sigma, x)
    return x


@torch.inference_mode()
def main():
    torch.manual_seed(0)
    model, noise = Denoiser(), torch.randn(1, 4, 16, 16)
    plain = sample(model, noise, model_of(model))
    loop = toca_core.CachedLoop(model, torch.linspace(1, 0, STEPS + 1).tolist(), blocks="blocks")
    cached = sample(model, noise, lambda sigma, x: loop(sigma, x, lambda: model(x, sigma)))
    print(loop.finish().summary())
    print(f"Relative difference to the run without caching: {float((cached - plain).norm() / plain.norm()):.1e}")


def model_of(model):
    return lambda sigma, x: model(x, sigma)


if __name__ == "__main__":
    main()
