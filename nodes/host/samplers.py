"""What is known of the host's samplers: which go on from one prediction to the next so that a known error can be taken back."""

from comfy.extra_samplers import uni_pc
from comfy.k_diffusion import sampling

# One evaluation a step, and what comes next is linear in the predictions with weights that add up: Euler's step, and multistep solvers,
# which give again at the next step a part of what was taken at one (docs/bench: with them and without).
LINEAR = {sampling.sample_euler, sampling.sample_res_multistep, sampling.sample_dpmpp_2m, uni_pc.sample_unipc, uni_pc.sample_unipc_bh2}


def is_linear(sampler) -> bool:
    """sampler: the host's SAMPLER."""
    return getattr(sampler, "sampler_function", None) in LINEAR
