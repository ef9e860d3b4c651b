"""A number of calls, kept by every sampler; and steps followed in parts."""

import random

import pytest
import torch

import comfy.samplers

from tools.pack import pack_module

from .test_stack import psnr

STEPPING = [name for name in comfy.samplers.KSAMPLER_NAMES if name != "dpm_adaptive"]       # that one has no number of steps
SCHEDULERS = ("normal", "simple", "karras", "beta", "sgm_uniform")
SIDE = {"size": (32, 32), "batch": 2}


@pytest.mark.parametrize("sampler", STEPPING)
def test_every_sampler_keeps_to_the_number(tiny_dit, cached, sampler):
    """Over 200 runs in all, at both levels."""
    choice = random.Random(sampler)
    for _ in range(-(-200 // len(STEPPING))):
        steps, level, scheduler = choice.randint(2, 12), choice.choice(("stack", "output")), choice.choice(SCHEDULERS)
        calls = choice.randint(1, 12)
        model, reports = cached(tiny_dit, level=level, calls=calls)
        tiny_dit.sample(model, steps=steps, sampler=sampler, scheduler=scheduler, seed=choice.randrange(1000))
        report = reports[0]
        assert report.calls("full") == min(calls, len(report.steps)), (steps, level, scheduler, calls)


@pytest.mark.parametrize("sampler", STEPPING)
def test_as_many_calls_as_there_are_change_nothing_not_even_the_noise(tiny_dit, cached, sampler):
    options = {"steps": 5, "sampler": sampler, "scheduler": "simple"}
    model, reports = cached(tiny_dit, level="output", calls=100)
    torch.manual_seed(5)
    plain, after = tiny_dit.sample(**options), torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(tiny_dit.sample(model, **options), plain) and torch.equal(torch.rand(1), after)
    assert not reports[0].calls("partial")


@pytest.mark.parametrize("sampler", comfy.samplers.SAMPLER_NAMES)
def test_those_that_ask_once_a_step_are_known(tiny_dit, cached, sampler):
    """By the list that the panel and ToCa Calibrate reckon with."""
    model, reports = cached(tiny_dit, level="output", calls=100)
    asked = []
    for options in ({"steps": 2}, {"steps": 7}, {"steps": 7, "denoise": 0.5}):
        tiny_dit.sample(model, sampler=sampler, scheduler="simple", **options)
        asked.append(len(reports[-1].steps) == options["steps"])
    assert all(asked) == (sampler in pack_module("nodes.host.samplers").ONE_CALL)


def test_a_speed_is_kept_too(tiny_dit, cached):
    model, reports = cached(tiny_dit, preset="auto", speed=3.0)
    tiny_dit.sample(model, steps=24)
    tiny_dit.sample(model, steps=24, sampler="heun")
    assert [report.calls("full") for report in reports] == [8, round(47 / 3)]


def test_parts_of_a_run_each_have_the_number(tiny_dit, cached):
    """As two KSampler (Advanced) in a row, and as a picture that is drawn over."""
    model, reports = cached(tiny_dit, level="output", calls=4)
    half = tiny_dit.sample(model, steps=16, last_step=8, force_full_denoise=False)
    tiny_dit.sample(model, steps=16, start_step=8, latent=half, disable_noise=True)
    tiny_dit.sample(model, steps=10, denoise=0.5)
    assert [(report.calls("full"), len(report.steps)) for report in reports] == [(4, 8), (4, 8), (4, 10)]


def test_steps_outside_the_range_are_of_the_number(tiny_dit, cached):
    model, reports = cached(tiny_dit, level="output", calls=8, end_percent=0.8)
    tiny_dit.sample(model, steps=20, scheduler="simple")
    plain = reports[0].calls("plain")
    assert plain and plain + reports[0].calls("full") == 8


def test_more_calls_come_closer(demo, cached):
    options = {**SIDE, "steps": 20, "scheduler": "normal"}
    likeness = []
    for calls in (6, 10, 15):
        model, _ = cached(demo, level="output", trust=False, calls=calls)
        likeness.append(psnr(demo.sample(model, **options), demo.plain(**options)).mean().item())
    assert likeness[0] + 3 < likeness[1] < likeness[2] - 3


# ---- steps followed in parts ----


def test_followed_steps_come_nearer_to_what_many_give(demo, cached):
    """Of 12 calls in 12 steps; the truth is 50 of heun's."""
    options = {**SIDE, "scheduler": "simple"}
    truth = demo.plain(**options, steps=50, sampler="heun")
    model, reports = cached(demo, level="output", trust=False, calls=12, refine=4)
    followed, seen = demo.sample(model, **options, steps=12), []
    assert psnr(followed, truth).mean() > psnr(demo.plain(**options, steps=12), truth).mean() + 5
    report = reports[0]
    assert report.calls("full") == 12 and len(report.steps) == 48 and not report.note
    assert report.flops_speedup == pytest.approx(1.0) and "12 steps in 4 parts each" in report.summary()
    demo.sample(model, **options, steps=12, callback=lambda step, denoised, x, total: seen.append((step, total)))
    assert seen == [(step, 12) for step in range(12)]


def test_the_preset_for_quality_takes_no_longer_than_the_plain_run(demo, cached):
    options = {**SIDE, "steps": 12, "scheduler": "simple"}
    model, reports = cached(demo, preset="quality")
    truth = demo.plain(**SIDE, steps=50, sampler="heun", scheduler="simple")
    assert psnr(demo.sample(model, **options), truth).mean() > psnr(demo.plain(**options), truth).mean() + 5
    assert reports[0].calls("full") == 11 and reports[0].flops_speedup > 1


def test_the_preset_for_quality_is_the_plain_run_over_other_samplers_but_for_a_number_of_calls(tiny_dit, cached):
    options = {"steps": 9, "sampler": "dpmpp_2m"}
    model, reports = cached(tiny_dit, preset="quality")
    assert torch.equal(tiny_dit.sample(model, **options), tiny_dit.plain(**options))
    assert "preset quality wants sampler euler" in reports[0].note
    model, reports = cached(tiny_dit, preset="quality", calls=5)
    tiny_dit.sample(model, **options)
    assert reports[0].calls("full") == 5


@pytest.mark.parametrize(("sampler", "reason"), [("dpmpp_2m", "makes more of a step"), ("euler_ancestral", "adds noise")])
def test_other_samplers_take_their_steps_as_they_are(tiny_dit, cached, sampler, reason):
    model, reports = cached(tiny_dit, level="output", calls=100, refine=4)
    options = {"steps": 6, "sampler": sampler}
    torch.manual_seed(5)
    plain = tiny_dit.sample(**options)
    torch.manual_seed(5)
    assert torch.equal(tiny_dit.sample(model, **options), plain)
    assert "refine is 4" in reports[0].note and reason in reports[0].note


def test_noise_that_euler_is_told_to_add_leaves_its_steps_as_they_are(tiny_dit, cached):
    """`s_churn`, which nodes of others set on the host's own sampler."""
    model, reports = cached(tiny_dit, level="output", calls=100, refine=4)
    assert torch.equal(churned(tiny_dit, model), churned(tiny_dit, tiny_dit.model))
    assert "refine is 4" in reports[0].note and "adds noise" in reports[0].note


def churned(subject, model):
    import comfy.sample
    import comfy.samplers
    from comfy.k_diffusion import sampling
    sampler, latent = comfy.samplers.KSAMPLER(sampling.sample_euler, {"s_churn": 2.0}), torch.zeros(1, 4, 16, 16)
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "normal", 6)
    torch.manual_seed(5)
    with torch.inference_mode():
        return comfy.sample.sample_custom(model, comfy.sample.prepare_noise(latent, 3), 3.0, sampler, sigmas, subject.positive,
                                          subject.negative, latent, disable_pbar=True, seed=3).clone()


def test_level_stack_takes_its_steps_as_they_are(tiny_dit, cached):
    model, reports = cached(tiny_dit, level="stack", calls=4, refine=4)
    tiny_dit.sample(model, steps=8)
    assert "level stack forecasts no prediction" in reports[0].note and reports[0].calls("full") == 4
