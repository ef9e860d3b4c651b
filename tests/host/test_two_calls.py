"""Samplers that ask more than once a step, or at one noise level twice, are cached by what is measured too."""

import pytest
import torch

import comfy.samplers

from .test_stack import psnr

TWICE = ["heun", "dpm_2", "heunpp2", "exp_heun_2_x0", "dpmpp_2s_ancestral"]


def sampled(demo, cached, sampler, tolerance, steps=14):
    options = {"steps": steps, "size": (32, 32), "cfg": 3.0, "scheduler": "simple", "sampler": sampler, "batch": 4}
    model, reports = cached(demo, level="stack", tolerance=tolerance)
    plain = demo.plain(**options)
    return psnr(demo.sample(model, **options), plain).mean().item(), reports[0]


@pytest.mark.parametrize("sampler", TWICE)
def test_likeness_falls_as_the_tolerance_rises(demo, cached, sampler):
    """A second question at the time of the last answer is about another sample: it is not answered for nothing."""
    (close, careful), (far, bold) = (sampled(demo, cached, sampler, tolerance) for tolerance in (0.05, 1.0))
    assert close > far + 4 and close > 40
    assert careful.calls("full") > bold.calls("full") and bold.calls("partial") > 5


@pytest.mark.parametrize("sampler", comfy.samplers.KSAMPLER_NAMES)
def test_next_to_no_tolerance_computes_everything_bit_for_bit(tiny_dit, cached, sampler):
    options = {"steps": 5, "sampler": sampler, "scheduler": "simple"}
    for level in ("stack", "output"):
        model, reports = cached(tiny_dit, level=level, tolerance=1e-6)
        torch.manual_seed(5)
        plain = tiny_dit.sample(**options)
        torch.manual_seed(5)
        assert torch.equal(tiny_dit.sample(model, **options), plain), (sampler, level)
        assert reports[0].calls("partial") == 0
