"""The stack level on the real host: what it skips, what it costs, what it keeps apart."""

from functools import partial

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

TOLERANT = {"level": "stack", "tolerance": 20.0}


def psnr(one, other):
    return 10 * torch.log10(4 / (one.clamp(-1, 1) - other.clamp(-1, 1)).square().flatten(1).mean(1))


@pytest.mark.smoke
def test_a_tolerance_skips_steps_and_says_what_it_measured(subject, cached):
    model, reports = cached(subject, **TOLERANT)
    result = subject.sample(model, steps=16, scheduler="simple")
    steps = reports[0].steps
    assert torch.isfinite(result).all() and not torch.equal(result, subject.plain(steps=16, scheduler="simple"))
    assert [step.kind for step in steps[:3]] == ["full"] * 3 and steps[-1].kind == "full"
    assert reports[0].calls("partial") > 3
    assert all((step.error is not None) == (step.kind == "full" and step.index > 0) for step in steps)


def test_a_last_step_from_next_to_no_noise_need_not_be_full(demo, cached):
    model, reports = cached(demo, level="stack", tolerance=100.0, max_gap=100)
    demo.sample(model, steps=16, scheduler="normal", size=(64, 64))
    demo.sample(model, steps=16, scheduler="simple", size=(64, 64))
    assert [report.steps[-1].kind for report in reports] == ["partial", "full"]


@pytest.mark.smoke
def test_a_run_with_a_tolerance_repeats_and_leaves_nothing_behind(subject, cached):
    model, reports = cached(subject, **TOLERANT)
    before = subject.plain()
    assert torch.equal(subject.sample(model), subject.sample(model))
    assert torch.equal(subject.sample(), before)
    assert [step.error for step in reports[0].steps] == [step.error for step in reports[1].steps]


@pytest.mark.parametrize("settings", [{"cycle": 3}, {"cycle": 2, "repayment": 0.0}, TOLERANT])
def test_flops_are_those_that_torch_counts(subject, cached, settings):
    model, reports = cached(subject, **{"level": "stack", **settings})
    subject.sample(model)
    with FlopCounterMode(display=False) as counter:
        subject.sample(model)
    assert reports[1].flops == pytest.approx(counter.get_total_flops(), rel=0.02)


def test_skipped_steps_run_no_block(subject, cached, monkeypatch, pack):
    model, reports = cached(subject, level="stack", cycle=3, repayment=0.0)
    calls = []
    for stack in pack.systems.system_of(subject.diffusion_model).stacks:
        block = subject.diffusion_model.get_submodule(stack.path)[0]
        monkeypatch.setitem(block.__dict__, "forward", lambda *args, block=block, **kwargs: (
            calls.append(block), type(block).forward(block, *args, **kwargs))[1])
    subject.sample(model)
    stacks = len(pack.systems.system_of(subject.diffusion_model).stacks)
    assert len(calls) == stacks * reports[0].model_calls["full"] == stacks * 3


def test_auto_is_close_and_fast_on_the_demo_model(demo, cached):
    model, reports = cached(demo, "auto")
    fast, plain = (run(steps=30, batch=2, size=(64, 64), scheduler="simple") for run in (partial(demo.sample, model), demo.plain))
    assert reports[0].flops_speedup > 1.9
    assert psnr(fast, plain).min() > 30 and psnr(fast, plain).mean() > 38


@pytest.mark.parametrize("part", [{"trust": False}, {"repayment": 0.0}, {"order": 0}])
def test_each_part_can_be_switched(demo, cached, part):
    with_it, without = (demo.sample(cached(demo, level="stack", cycle=3, **settings)[0], steps=8, batch=1, size=(64, 64))
                        for settings in ({}, part))
    assert torch.isfinite(without).all() and not torch.equal(with_it, without)


@pytest.mark.parametrize("level", ["stack", "output"])
def test_repayment_brings_the_sample_back_towards_the_truth(demo, cached, level):
    options = {"steps": 30, "batch": 2, "size": (64, 64), "scheduler": "simple"}
    plain = demo.plain(**options)
    errors = {share: (demo.sample(cached(demo, level=level, tolerance=0.2, repayment=share)[0], **options) - plain).norm().item()
              for share in (0.0, 1.0)}
    assert errors[1.0] < 0.95 * errors[0.0]


@pytest.mark.parametrize("sampler", ["euler_ancestral", "er_sde", "dpmpp_2m_sde"])
def test_where_noise_is_added_on_the_way_the_clean_picture_is_forecast(demo, cached, sampler):
    options = {"steps": 30, "batch": 4, "size": (32, 32), "scheduler": "simple", "sampler": sampler, "cfg": 2.0}
    model, reports = cached(demo, "auto")
    likeness = psnr(demo.sample(model, **options), demo.plain(**options))
    assert reports[0].settings["level"] == "output" and reports[0].calls("partial") >= 5
    assert likeness.mean() > 38 and likeness.min() > 30


@pytest.mark.parametrize("sampler, likeness", [("er_sde", 36), ("euler_ancestral", 30)])
def test_there_calls_are_placed_by_how_the_clean_pictures_errors_fall(demo, cached, sampler, likeness):
    options = {"steps": 30, "batch": 4, "size": (64, 64), "scheduler": "simple", "sampler": sampler}
    model, reports = cached(demo, "auto", calls=15)
    found = psnr(demo.sample(model, **options), demo.plain(**options))
    assert reports[0].calls("full") == 15 and found.mean() > likeness


@pytest.mark.parametrize("sampler", ["dpmpp_2m", "heun", "dpmpp_sde"])
def test_other_samplers_are_repaid_nothing(demo, cached, sampler):
    one, other = (demo.sample(cached(demo, level="stack", cycle=3, repayment=repayment)[0], steps=8, batch=1, size=(64, 64),
                              sampler=sampler) for repayment in (0.0, 1.0))
    assert torch.equal(one, other)


@pytest.mark.parametrize("sampler, alike", [("uni_pc", True), ("dpmpp_2m", True), ("euler", False)])
def test_where_nothing_is_taken_back_the_error_is_that_of_the_prediction(demo, cached, sampler, alike):
    """The first one at level stack is that at level output, since both are of the same two steps."""
    errors = []
    for level in ("stack", "output"):
        model, reports = cached(demo, level=level, tolerance=20.0, trust=False)
        demo.sample(model, steps=8, sampler=sampler)
        errors.append(next(step.error for step in reports[0].steps if step.error is not None))
    assert (errors[0] == pytest.approx(errors[1], rel=1e-4)) == alike


@pytest.mark.parametrize("steps", [1, 2, 4, 8])
def test_few_steps_are_skipped_one_at_a_time_or_not_at_all_and_the_report_says_so(subject, cached, steps):
    model, reports = cached(subject, "auto")
    result = subject.sample(model, steps=steps)
    kinds = "".join(step.kind[0] for step in reports[0].steps)
    assert "pp" not in kinds
    if "p" not in kinds:
        assert torch.equal(result, subject.plain(steps=steps))
        assert "No step could be skipped" in reports[0].note


def test_the_widget_sets_autos_tolerance(pack, demo, cached):
    config = pack.config.ToCaConfig()
    reports = []
    for tolerance in (None, 0.05, 1.0):
        settings = pack.settings.Settings("auto", config, tolerance=tolerance)
        demo.sample(pack.seam.install(demo.model, settings, reports.append), steps=20, batch=1, size=(64, 64), scheduler="simple")
    assert [report.settings["tolerance"] for report in reports] == [pack.presets.TOLERANCE, 0.05, 1.0]
    assert reports[1].calls("full") > reports[0].calls("full") > reports[2].calls("full")
