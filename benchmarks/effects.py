"""What a small change of a token's residual at one step does to the finished picture: gradients through a whole run of Euler's sampler."""

from functools import partial
from unittest import mock

import torch
from torch.utils.checkpoint import checkpoint

from benchmarks.hooked import ChangedCall, Hooked
from tools.pack import load_host, pack_module

load_host(cpu=not torch.cuda.is_available())
import comfy.model_management
import comfy.sample
import comfy.samplers

swap = pack_module("toca_core.swap")


def apart(module, inputs):
    """FLUX's blocks add to their tokens in place, when a norm has kept them for the way back."""
    return inputs[0].clone(), *inputs[1:]


class Effects(Hooked):
    """Of one model without caching."""

    def __init__(self, model):
        super().__init__(model)
        for module in self.model.model.diffusion_model.modules():
            if isinstance(module, torch.nn.LayerNorm):
                module.register_forward_pre_hook(apart)

    def of(self, batch, steps: int, guidance: float, probes: int) -> dict[tuple[int, int], torch.Tensor]:
        """-> (step, call of it) -> (probes, B, N, C): how random weighings of the picture's values change with each token's residual.

        The mean square, over the probes, of one of these with a small error of a token is the square that the error makes of the
        picture (Hutchinson's estimate).
        """
        self.moves: dict[tuple[int, int], torch.Tensor] = {}
        self.probes, self.numbers = probes, torch.Generator().manual_seed(batch.seed)
        positive, negative = (batch.subject.conditioning(labels) for labels in (batch.labels, [batch.subject.nothing]))
        sigmas = comfy.samplers.calculate_sigmas(self.model.get_model_object("model_sampling"), "normal", steps)
        sampler = comfy.samplers.KSAMPLER(self.euler)
        with torch.enable_grad(), mock.patch.object(comfy.model_management, "in_training", True):  # rotary embeddings that have gradients
            comfy.sample.sample_custom(self.model, batch.noise.clone(), guidance, sampler, sigmas, positive, negative,
                                       batch.subject.empty_latent(len(batch.labels)), disable_pbar=True, seed=batch.seed)
        return self.found

    def euler(self, model, x, sigmas, extra_args=None, callback=None, disable=None):
        """Every step is computed once more on the way back, so that what one step keeps is all that is held."""
        for index in range(len(sigmas) - 1):
            x = checkpoint(partial(self.step, model, index, sigmas, extra_args), x, use_reentrant=False)
        found = []
        for _ in range(self.probes):
            weights = torch.randn(x.shape, generator=self.numbers)
            found.append(torch.autograd.grad((x * weights).sum(), list(self.moves.values()), retain_graph=True))
        self.found = {place: torch.stack(of_probes) for place, of_probes in zip(self.moves, zip(*found, strict=True), strict=True)}
        return x.detach()

    def step(self, model, index: int, sigmas, extra_args, x):
        self.at = index
        sigma, then = sigmas[index], sigmas[index + 1]
        return x + (x - model(x, sigma * x.new_ones(len(x)), **extra_args)) / sigma * (then - sigma)

    def called(self, call, about, x):
        with swap.swapped(ChangedCall(about, lambda tokens, residual: residual + self.move(tokens)).replacements()):
            return call()

    def move(self, tokens):
        place = self.at, self.ordinal
        if place not in self.moves:
            self.moves[place] = torch.zeros_like(tokens, requires_grad=True)
        return self.moves[place]


def damage(effect, error):
    """The square that each token's error (B, N, C) makes of the picture, by its effects (probes, B, N, C) -> (B, N)."""
    return (effect * error).sum(-1).square().mean(0)
