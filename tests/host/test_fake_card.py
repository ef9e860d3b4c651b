"""What holds on a graphics card, without one: models at their published widths, with tensors that have no numbers (`fake_card.py`)."""

from dataclasses import replace

import pytest
import torch

from tools.pack import pack_module

from . import fake_card

STEPS = 6
# Kernels that start on a skipped step, the host's own before and after the blocks among them; at level output all of them are ours.
KERNELS = {"stack": {"flux": 110, "wan": 95, "qwen_image": 95, "hunyuan_video": 160}, "output": 11}
RUNS = [("flux", "stack"), ("wan", "stack"), ("qwen_image", "stack"), ("hunyuan_video", "stack"), ("flux", "output"), ("wan", "output"),
        ("ltx2", "output")]


@pytest.fixture(scope="module", params=RUNS, ids=[f"{name}, {level}" for name, level in RUNS])
def run(request):
    name, level = request.param
    with fake_card.card() as meter:
        return name, level, fake_card.run(meter, name, STEPS, pack_module("toca_core.presets").auto(30, level))


def test_nothing_waits_inside_a_step(run):
    """And before one at most for the one number that decides; a tensor on another device than its partner's would have raised."""
    *_, done = run
    assert [step.kind for step in done.steps] == ["full"] * 3 + ["partial"] * 2 + ["full"]
    assert all(step.waits == done.plain.waits for step in done.steps)
    assert [step.waits_before for step in done.steps] == [0, 0, 1, 1, 0, 0]


def test_a_number_of_calls_waits_for_no_error(monkeypatch):
    """They are placed by times alone; what the errors were is told when they are there."""
    told = []

    class Told:
        def __init__(self, errors):
            told.extend(errors)

        def __float__(self):
            return 0.25

        def __eq__(self, _other):
            raise AssertionError("looked at before the step is over")
    monkeypatch.setattr(pack_module("toca_core.levels.forecasting"), "Number", Told)
    config = replace(pack_module("toca_core.presets").auto(30, "output"), calls=4)
    with fake_card.card() as meter:
        done = fake_card.run(meter, "flux", STEPS, config)
    assert [step.waits_before for step in done.steps] == [0] * STEPS and len(told) > 0
    assert sum(step.kind == "full" for step in done.steps) == 4
    assert [step.error for step in done.report.steps if step.error] == [25.0] * len(told)


def test_what_is_held_is_what_was_predicted(run):
    *_, done = run
    assert done.need.total == pytest.approx(max(step.held for step in done.steps), rel=0.05)


def test_a_full_step_takes_no_more_than_was_predicted(run):
    """At its peak, beside what the plain model takes there."""
    *_, done = run
    assert max(step.peak for step in done.of("full")) - done.plain.peak <= 1.05 * (done.need.total + done.need.passing)


def test_a_skipped_step_is_small(run):
    """In kernels, and in memory, where at level stack the embedding and the final layer run."""
    name, level, done = run
    most = KERNELS[level] if level == "output" else KERNELS[level][name]
    assert all(0 < step.kernels <= most for step in done.of("partial"))
    assert all(step.peak - step.held < done.plain.peak for step in done.of("partial"))


@pytest.mark.parametrize("level", ["module", "stack", "output"])
def test_masks_and_priorities_come_from_the_cpu(level):
    """As the mask nodes give them. The tokens inside are computed at level stack, ranked with the others at level module, and count in the
    error; nothing waits for them within a step."""
    core = {name: pack_module(f"toca_core.{name}") for name in ("presets", "config", "select.regions")}
    config = core["presets"].auto(30, level) if level != "module" else core["config"].ToCaConfig(score="self_attn", cycle=2)
    with fake_card.card() as meter:
        area = torch.zeros(1, 1, 128, 128, dtype=torch.bool)
        told = {"region": core["select.regions"].Region(area, 1, (1, 2, 2), given=True), "masked": level == "stack", "refreshes": True}
        done = fake_card.run(meter, "flux", STEPS, config, priority=torch.ones(1, 4096), **told)
    assert {step.kind for step in done.steps} == {"full", "partial"}
    assert all(step.waits == done.plain.waits for step in done.steps) and max(step.waits_before for step in done.steps) <= 1
    if level == "module":                                           # reading s1 takes a chunk of the attention map for a moment
        assert max(step.peak for step in done.of("full")) - done.plain.peak <= 1.05 * (done.need.total + done.need.passing)
        assert done.need.passing < 0.25 * done.need.total


def test_the_meter_sees_a_wait_a_second_device_and_what_is_held():
    with fake_card.card() as meter:
        one = fake_card.on_card(1000, 1000, dtype=torch.float32)
        meter.reset()
        assert float((one + 1).sum()) == fake_card.ANSWER and meter.waits == 1 and meter.kernels == 2
        assert meter.peak == 4_000_004 and meter.live == meter.before
        one.cpu()
        assert meter.waits == 2
        with pytest.raises(Exception, match="different devices|two devices|same device"):
            one + torch.ones(1000)
