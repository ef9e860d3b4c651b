"""What is known of the host's samplers: which ask once a step, which can take a known error back, which add noise on the way."""

import inspect

from comfy.k_diffusion import sampling

# What comes next is linear in the prediction, and no later step goes back to it. Over multistep solvers, which do, taking errors back
# was tried: better for small pictures, worse for those of the demo model's own size (docs/bench/multistep.md).
LINEAR = {sampling.sample_euler}
# They ask the model once a step; how often others do, also those that a host has or a pack brings later, is known when they have run.
ONE_CALL = ("euler", "euler_cfg_pp", "euler_ancestral", "euler_ancestral_cfg_pp", "lms", "dpm_fast", "dpmpp_2m", "dpmpp_2m_cfg_pp",
            "dpmpp_2m_sde", "dpmpp_2m_sde_gpu", "dpmpp_2m_sde_heun", "dpmpp_2m_sde_heun_gpu", "dpmpp_3m_sde", "dpmpp_3m_sde_gpu", "ddpm",
            "lcm", "ipndm", "ipndm_v", "deis", "res_multistep", "res_multistep_cfg_pp", "res_multistep_ancestral",
            "res_multistep_ancestral_cfg_pp", "gradient_estimation", "gradient_estimation_cfg_pp", "er_sde", "sa_solver", "ddim", "uni_pc",
            "uni_pc_bh2")
# What the unconditional side says is added to the sample at every step, and with it each error. On the demo's model, 20 steps at guidance
# 1.5, a fixed cycle of 2 ends 1.4 to 3.5 times as far from the plain picture as another seed's does, at every level.
ADDING_UP = ("sample_dpmpp_2s_ancestral_cfg_pp",)
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


def uncached(sampler, watched: bool) -> str:
    """Why nothing can be cached over this sampler, in words; empty where it can. watched: full steps are where errors ask for them."""
    if watched or getattr(getattr(sampler, "sampler_function", None), "__name__", "") not in ADDING_UP:
        return ""
    return "the sampler adds every error to the next steps, which a fixed cycle does not see: choose auto"


def unrefined(sampler) -> str:
    """Why this sampler's steps cannot be followed in parts, in words; empty where they can."""
    churned = getattr(sampler, "extra_options", {}).get("s_churn", 0) > 0
    if is_linear(sampler) and not churned:
        return ""
    return "the sampler adds noise at every step" if churned or is_noisy(sampler) else "the sampler makes more of a step than Euler's does"
