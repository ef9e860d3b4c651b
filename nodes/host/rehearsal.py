"""Which noise levels a sampler will ask the model about: found by letting it run once on a single number, with no model behind it."""

import torch

SHAPE = (1, 1, 1, 1)
MOST = 100_000                  # evaluations; a sampler that asks for more is not followed
ADAPTIVE = "dpm_adaptive_function"      # it chooses its steps by what the model answers (`comfy/samplers.py`, ksampler)


class TooMany(Exception):
    """The sampler does not come to an end by itself."""


class Rehearsal:
    """What a sampler calls in place of the model (`comfy.samplers.KSamplerX0Inpaint`): it notes the noise level and answers nothing."""

    def __init__(self, guider, sigmas):
        self.inner_model, self.sigmas = guider, sigmas
        self.latent_image, self.noise = torch.zeros(SHAPE), torch.zeros(SHAPE)
        self.asked: list[float] = []

    def __call__(self, x, sigma, denoise_mask=None, model_options=None, seed=None):
        self.asked.append(float(sigma.flatten()[0]))
        if len(self.asked) > MOST:
            raise TooMany
        answer = torch.zeros_like(x)
        told = {"denoised": answer, "cond": None, "uncond": None, "cond_scale": 1.0, "model": None, "sigma": sigma, "input": x,
                "uncond_denoised": answer, "cond_denoised": answer, "model_options": model_options}
        for function in (model_options or {}).get("sampler_post_cfg_function", ()):
            answer = function(told)                                 # some samplers listen there for what is without guidance
        return answer


def rehearse(guider, sampler, sigmas, seed) -> list[float]:
    """The noise levels in the order in which they will come; empty where that cannot be told.

    Only the host's own samplers are rehearsed: those of other nodes may keep something from one run to the next.
    """
    function = getattr(sampler, "sampler_function", None)
    if function is None or not function.__module__.startswith("comfy.") or function.__name__ == ADAPTIVE:
        return []
    sigmas = sigmas.detach().cpu().clone()                          # some samplers write into them
    stand_in = Rehearsal(guider, sigmas)
    options = {name: value for name, value in getattr(sampler, "extra_options", {}).items() if name != "noise_sampler"}
    try:
        with torch.random.fork_rng(devices=[]):
            function(stand_in, torch.zeros(SHAPE), sigmas, extra_args={"seed": seed, "model_options": {}, "denoise_mask": None},
                     callback=None, disable=True, **options)
    except Exception:                                               # what it needs is not here; the real run goes its own way
        return []
    return stand_in.asked
