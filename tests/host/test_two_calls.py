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


@pytest.mark.parametrize("level", ["stack", "output"])
def test_noise_levels_that_differ_by_rounding_are_one(demo, cached, level):
    """Half a step down from where this sampler comes to lies a rounding beside the next noise level, and there the sample is another."""
    options = {"steps": 20, "sampler": "dpmpp_2s_ancestral_cfg_pp", "scheduler": "simple", "size": (32, 32), "cfg": 1.5, "batch": 4}
    model, reports = cached(demo, level=level, tolerance=0.05)
    assert psnr(demo.sample(model, **options), demo.plain(**options)).min() > 40, reports[0].calls("partial")


def test_a_sampler_that_adds_errors_up_is_not_cached_by_a_fixed_cycle(tiny_dit, cached):
    options = {"steps": 6, "sampler": "dpmpp_2s_ancestral_cfg_pp", "scheduler": "simple"}
    for level in ("module", "stack", "output"):
        model, reports = cached(tiny_dit, level=level, cycle=2)
        assert torch.equal(tiny_dit.sample(model, **options), tiny_dit.plain(**options))
        assert "adds every error to the next steps" in reports[0].note
    _, reports = run = cached(tiny_dit, level="output", tolerance=30.0)
    tiny_dit.sample(run[0], **options)
    assert "adds every error" not in reports[0].note
