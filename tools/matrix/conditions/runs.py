"""How a run is made: on a picture, in passes, back up again, in batches, of other sizes, with other noise schedules."""

from dataclasses import replace

import comfy_extras.nodes_model_advanced as advanced
import torch

import comfy.k_diffusion.sampling
import comfy.sample
import comfy.samplers

from tools.matrix.graph import LeftOut, before, condition, guided, output, sampled, sigmas_of
from tools.zoo.building import random


@condition("nothing else")
def nothing_else(graph, subject):
    return graph


@condition("img2img")
def img2img(graph, subject):
    return replace(graph, latent=random(*graph.latent.shape, seed=6) * 0.5, denoise=0.6)


@condition("a batch of two")
def batch(graph, subject):
    return replace(graph, latent=graph.latent.repeat(2, *[1] * (graph.latent.ndim - 1)))


@condition("another size")
def another_size(graph, subject):
    *others, height, width = graph.latent.shape
    return replace(graph, latent=torch.zeros(*others, height - 4, width + 4))


@condition("two passes of one run")
def two_passes(graph, subject):
    """Two KSamplers (Advanced): the second goes on where the first stopped."""
    def sample(graph, model, seed):
        middle = graph.steps // 2
        first = sampled(graph, model, seed, start_step=0, last_step=middle, force_full_denoise=False)
        return sampled(replace(graph, latent=first), model, seed, start_step=middle, last_step=graph.steps, disable_noise=True,
                       force_full_denoise=True)
    return replace(graph, sample=sample)


@condition("a second pass of a larger size")
def larger_second_pass(graph, subject):
    """As high-resolution fixes do."""
    def sample(graph, model, seed):
        first = sampled(graph, model, seed)
        sizes = [size + 4 for size in first.shape[-2:]]
        larger = torch.nn.functional.interpolate(first.flatten(0, -4), size=sizes).reshape(*first.shape[:-2], *sizes)
        return sampled(replace(graph, latent=larger, denoise=0.5), model, seed)
    return replace(graph, sample=sample)


@condition("two runs that take turns")
def two_runs(graph, subject):
    """One model, two prompts, one after the other."""
    def sample(graph, model, seed):
        first = sampled(graph, model, seed)
        return torch.cat([first, sampled(replace(graph, positive=graph.negative, negative=graph.positive), model, seed)])
    return replace(graph, sample=sample)


@condition("split sigmas")
def split_sigmas(graph, subject):
    def sample(graph, model, seed):
        sigmas = sigmas_of(graph, model)
        middle = graph.steps // 2
        first = guided(graph, model, seed, sigmas[:middle + 1])
        return guided(graph, model, seed, sigmas[middle:], latent=first, noise=torch.zeros_like(first))
    return replace(graph, sample=sample)


@condition("a run that goes back up")
def restarts(graph, subject):
    """As restart sampling does: from a lower noise level back to a higher one, with new noise."""
    def restarting(model, x, sigmas, extra_args=None, callback=None, disable=None, **options):
        middle, later = len(sigmas) // 3, 2 * len(sigmas) // 3
        euler = comfy.k_diffusion.sampling.sample_euler
        x = euler(model, x, sigmas[:later + 1], extra_args=extra_args, callback=callback, disable=disable)
        noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(9))
        up, down = sigmas[middle], sigmas[later]
        sampling = model.inner_model.inner_model.model_sampling
        if isinstance(sampling, comfy.model_sampling.CONST):
            x = x * (1 - up) / (1 - down) + noise * (up ** 2 - (down * (1 - up) / (1 - down)) ** 2).clamp_min(0).sqrt()
        else:
            x = x + noise * (up ** 2 - down ** 2).sqrt()
        return euler(model, x, sigmas[middle:], extra_args=extra_args, callback=callback, disable=disable)

    def sample(graph, model, seed):
        return guided(graph, model, seed, sampler=comfy.samplers.KSAMPLER(restarting))
    return replace(graph, sample=sample)


@condition("few steps")
def few_steps(graph, subject):
    return replace(graph, steps=4)


# ---- other noise schedules of the model ----


def is_flow(graph) -> bool:
    return isinstance(graph.model.get_model_object("model_sampling"), comfy.model_sampling.CONST)


@condition("ModelSamplingSD3")
def shifted(graph, subject):
    if not is_flow(graph):
        raise LeftOut("made for rectified flow")
    return before(graph, lambda model: output(advanced.ModelSamplingSD3().patch(model, 5.0)))


@condition("ModelSamplingDiscrete, velocity")
def discrete(graph, subject):
    if is_flow(graph):
        raise LeftOut("made for models that predict noise")
    return before(graph, lambda model: output(advanced.ModelSamplingDiscrete().patch(model, "v_prediction", True)))


@condition("ModelSamplingContinuousEDM")
def continuous(graph, subject):
    if is_flow(graph):
        raise LeftOut("made for models that predict noise")
    return before(graph, lambda model: output(advanced.ModelSamplingContinuousEDM().patch(model, "eps", 120.0, 0.002)))
