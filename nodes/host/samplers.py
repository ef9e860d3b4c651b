"""What is known of the host's samplers: which can take a known error back, and which add noise on the way."""

import inspect

from comfy.extra_samplers import uni_pc
from comfy.k_diffusion import sampling

# One evaluation a step, and what comes next is linear in the predictions with weights that add up: Euler's step, and multistep solvers,
# which give again at the next step a part of what was taken at one (docs/bench: with them and without).
LINEAR = {sampling.sample_euler, sampling.sample_res_multistep, sampling.sample_dpmpp_2m, uni_pc.sample_unipc, uni_pc.sample_unipc_bh2,
          sampling.sample_gradient_estimation, sampling.sample_euler_ancestral, sampling.sample_er_sde, sampling.sample_dpmpp_2m_sde,
          sampling.sample_dpmpp_2m_sde_gpu, sampling.sample_lcm}

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
