"""What is known of the host's samplers: which can take a known error back, and which add noise on the way."""

import inspect

from comfy.k_diffusion import sampling

# What comes next is linear in the prediction, and no later step goes back to it. Over multistep solvers, which do, taking errors back
# was tried: better for small pictures, worse for those of the demo model's own size (docs/bench/multistep.md).
LINEAR = {sampling.sample_euler}
WITHOUT_NOISE = ("sample_res_multistep", "sample_res_multistep_cfg_pp")         # though they take a noise sampler, for their kin


def is_linear(sampler) -> bool:
    """sampler: the host's SAMPLER."""
    return getattr(sampler, "sampler_function", None) in LINEAR


def is_noisy(sampler) -> bool:
    """Whether new noise comes into the sample at every step. sampler: the host's SAMPLER."""
    function = getattr(sampler, "sampler_function", None)
    if function is None or function.__name__ in WITHOUT_NOISE or "noise_sampler" not in inspect.signature(function).parameters:
        return False
    options = getattr(sampler, "extra_options", {})
    return options.get("eta", 1.0) != 0 and options.get("s_noise", 1.0) != 0


def unrefined(sampler) -> str:
    """Why this sampler's steps cannot be followed in parts, in words; empty where they can."""
    if is_linear(sampler):
        return ""
    return "the sampler adds noise at every step" if is_noisy(sampler) else "the sampler makes more of a step than Euler's does"
