"""Noise masks: only a part of the picture is painted."""

from dataclasses import replace

import comfy_extras.nodes_differential_diffusion as differential
import torch

from tools.matrix.graph import before, condition, output
from tools.zoo.building import random


def painted(graph, soft: bool = False):
    """SetLatentNoiseMask on a picture's latent: its right half, or from left to right more and more."""
    width = graph.latent.shape[-1]
    row = torch.linspace(0, 1, width) if soft else (torch.arange(width) >= width // 2).float()
    mask = row.expand(1, 1, *graph.latent.shape[-2:]).clone()
    return replace(graph, latent=random(*graph.latent.shape, seed=6) * 0.5, mask=mask)


@condition("SetLatentNoiseMask")
def noise_mask(graph, subject):
    return painted(graph)


@condition("DifferentialDiffusion")
def differential_diffusion(graph, subject):
    return before(painted(graph, soft=True), lambda model: output(differential.DifferentialDiffusion.execute(model, 1.0)))


@condition("a noise mask with img2img")
def noise_mask_img2img(graph, subject):
    return replace(painted(graph), denoise=0.6)
