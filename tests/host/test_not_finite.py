"""Numbers that are not finite stay with their picture, and the report says which and since when."""

import pytest
import torch

LEVELS = {"module": {"level": "module", "score": "random"}, "stack": {"level": "stack", "tolerance": 10.0},
          "output": {"level": "output", "tolerance": 10.0},
          "refresh": {"level": "stack", "cycle": 3, "refresh_ratio": 0.3},
          "fp8": {"level": "stack", "tolerance": 10.0, "cache_dtype": "fp8"}}
BAD = [float("nan"), float("inf")]


def spoilt(picture, at, bad):
    """A callback's place: from step `at` on the sample of one picture is not finite."""
    def act(step, denoised, x, total):
        if step == at:
            x[picture] = bad
    return act


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("bad", BAD, ids=str)
def test_a_picture_that_overflows_leaves_its_neighbours_alone(subject, cached, level, bad):
    if level == "refresh" and subject.name == "flux":
        pytest.skip("one system of each kind")
    settings = {"fresh_ratio": 0.3, "cycle": 3, **LEVELS[level]}
    model, reports = cached(subject, **settings)
    good = subject.sample(model, steps=14, batch=2, scheduler="simple")
    hurt = subject.sample(model, steps=14, batch=2, scheduler="simple", callback=spoilt(1, 4, bad))
    change = ((hurt[0] - good[0]).norm() / good[0].norm()).item()
    assert change < 0.05, change                                    # gaps may be others, since the lost picture no longer decides
    assert not torch.isfinite(hurt[1]).any() or not torch.isfinite(hurt[1]).all()
    told = [step.error for step in reports[1].steps if step.error is not None]
    assert all(error == error and error < 1e9 for error in told)
    assert "Picture 2 has numbers that are not finite from step 6 on" in reports[1].note and "not finite" not in reports[0].note
    assert "Picture 1" not in reports[1].note
    if "tolerance" in settings:                                     # the controller goes on measuring
        assert reports[1].calls("full") >= reports[0].calls("full") - 3


def test_a_forecast_that_overflows_where_the_truth_does_not_is_not_used(tiny_dit, cached):
    from tools.pack import pack_module
    forecasting = pack_module("toca_core.levels.forecasting")

    class Told:
        found: list = []
    told = Told()
    truth = torch.ones(3, 4, 2, 2)
    truth[2] = float("nan")
    forecasting.Forecasting.hear(told, torch.tensor([0.1, float("inf"), float("nan")]), truth)
    assert told.found[0].item() == forecasting.UNUSABLE
    forecasting.Forecasting.hear(told, torch.tensor([0.1, 0.2, float("nan")]), truth)
    assert told.found[1].item() == pytest.approx(0.2)
