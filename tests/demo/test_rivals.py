"""The bench's rivals: each published rule on the real host's model, few pictures and steps, and its arithmetic by hand."""

import itertools

import numpy as np
import pytest

from benchmarks import measuring
from benchmarks.rivals import forecasts, full_runs, online, planned, seam, tuning
from demo.subjects import SCENES, SHAPES
from toca_core import quality

STEPS, CALLS, CFG = 8, 5, 3.0
LONGEST = 8
CAREFUL = {                                                         # settings that skip nothing
    "TaylorSeer": {"order": 1, "cycle": 1}, "SpeCa": {"order": 1, "longest": LONGEST, "threshold": 0.0, "decay": 1.0},
    "DBCache": {"order": 1, "longest": LONGEST, "threshold": 0.0}, "MagCache": {"longest": LONGEST, "threshold": -1.0},
    "DiCache": {"minus_input": False, "longest": LONGEST, "threshold": 0.0}, "Spectrum": {"share": 0.5, "window": 1.0, "growth": 0.0}}
EASY = {                                                            # and that skip as much as they may
    "TaylorSeer": {"order": 1, "cycle": 3}, "SpeCa": {"order": 1, "longest": 2, "threshold": 9.0, "decay": 1.0},
    "DBCache": {"order": 1, "longest": 2, "threshold": 9.0}, "MagCache": {"longest": 2, "threshold": 9.0},
    "DiCache": {"minus_input": True, "longest": 2, "threshold": 9.0}, "Spectrum": {"share": 0.5, "window": 3.0, "growth": 0.0}}


@pytest.fixture(scope="module", params=[SHAPES, SCENES], ids=lambda subject: subject.name)
def trial(request):
    """Two pictures of a demo model, run in full."""
    with measuring.counted(request.param.load(), request.param) as (model, work):
        yield tuning.Trial(model, work, request.param, "euler", STEPS, 2, CFG, pictures=2)


@pytest.fixture(scope="module")
def runs(trial):
    return trial.full_runs()


def rule_of(method, settings, runs):
    known = {"ratios": runs.ratios} if method == "MagCache" else {}
    return tuning.Candidate(method, "", lambda sigmas: tuning.ONLINE[method][0](sigmas, **known, **settings))


@pytest.mark.parametrize("method", tuning.ONLINE)
def test_a_rule_that_skips_nothing_changes_nothing(trial, runs, method):
    if not trial.modular and method in tuning.AT_MODULES:
        pytest.skip("blocks of several streams")
    tried = trial.tried(rule_of(method, CAREFUL[method], runs))
    assert tried.psnr == quality.IDENTICAL
    checked = (STEPS - online.FIRST) / 8 if method == "SpeCa" else 0                # its last block of eight is run to check
    assert tried.calls == pytest.approx(STEPS + checked)


@pytest.mark.parametrize("method", tuning.ONLINE)
def test_steps_are_skipped_and_counted(trial, runs, method):
    """Of eight steps 0, 1, 2 and 5 are computed in full; what a rule computes of the others counts."""
    if not trial.modular and method in tuning.AT_MODULES:
        pytest.skip("blocks of several streams")
    tried = trial.tried(rule_of(method, EASY[method], runs))
    blocks = sum(len(stack.blocks) for stack in seam.systems.bound_of(trial.model.model.diffusion_model)[0].stacks)
    assert method not in ("SpeCa", "DBCache", "DiCache") or tried.calls > 4
    if trial.modular:
        assert tried.calls == pytest.approx(4 + (4 / blocks if method in ("SpeCa", "DBCache", "DiCache") else 0))
    assert 12 < tried.psnr < 60


@pytest.mark.parametrize("method", tuning.PLANNED)
def test_a_planned_rule_computes_the_steps_of_its_plan(trial, runs, method):
    rule, settings = tuning.PLANNED[method]
    one = next(tuning.combined({"calls": (CALLS,), **settings}))
    tried = trial.tried(tuning.Candidate(method, "", lambda sigmas: rule(sigmas, **rule.calibrated(runs, **one))))
    assert tried.calls == pytest.approx(CALLS) and 15 < tried.psnr < 60
    with pytest.raises(ValueError, match="too few"):
        planned.plan(30, 3, lambda *gap: 1.0)


def test_rivals_are_variants_like_the_others(trial):
    """Chosen on other pictures than those that are measured."""
    found = tuning.rivals(trial, ["MagCache", "DPCache"], (4, 6, 99))
    assert {(variant.kind, variant.sampler, variant.steps) for variant in found} == {("rival", "euler", STEPS)}
    planned_ones = [variant.setting for variant in found if variant.family == "DPCache"]
    assert len(planned_ones) == 2 and planned_ones[0].startswith("calls 4") and any(one.family == "MagCache" for one in found)
    own = measuring.make_batches(2, 2, trial.batches[0].subject)[0]
    assert trial.batches[0].seed != own.seed and not (trial.batches[0].noise == own.noise).any()


# ---- arithmetic ----


def test_taylors_weights():
    assert forecasts.taylor([6.0, 4.0, 3.0], 8.0, 0) == [1, 0, 0]
    assert forecasts.taylor([6.0, 4.0, 3.0], 8.0, 1) == [2, -1, 0]                  # as far again as from 4 to 6
    for order, feature in ((1, lambda time: 3 * time + 1), (2, lambda time: 3 * time + 1)):
        weights = forecasts.taylor([6.0, 4.0, 3.0], 9.0, order)
        assert sum(weight * feature(time) for weight, time in zip(weights, (6, 4, 3), strict=True)) == pytest.approx(feature(9))
    # squares at 4, 2, 0: slopes 6 and 2, their difference over the newer gap 2, so 16 + 2 * 6 + 2 * 2 ** 2 / 2
    assert np.dot(forecasts.taylor([4.0, 2.0, 0.0], 6.0, 2), [16, 4, 0]) == pytest.approx(32)
    assert forecasts.taylor([5.0], 6.0, 2) == [1]


def test_chebyshevs_weights_fit_what_is_a_polynomial():
    times = [8.0, 6.0, 5.0, 3.0, 1.0, 0.0]
    fitted = forecasts.chebyshev(times, 9.0, 10.0, 2, 0.0, 1.0)
    assert np.dot(fitted, np.square(times)) == pytest.approx(81)
    assert forecasts.chebyshev(times, 9.0, 10.0, 2, 0.0, 0.0) == pytest.approx(forecasts.taylor(times, 9.0, 1))


def test_ratios_add_up_to_a_skip():
    """Ratios of 1.1: errors 0.1 and 0.21 add up to 0.31, with 1.331 it would be 0.641."""
    rule = online.MagCache([1.0] * 9, [1.1] * 8, 0.5, longest=8)
    skipped = []
    for rule.step in range(online.FIRST, 8):
        skipped.append(not rule.is_full())
        rule.skipped = rule.skipped + 1 if skipped[-1] else 0
    assert skipped == [True, True, False, True, True]


def linear_runs(steps=6):
    """Of one picture whose velocity is (1, noise level): a line in it."""
    sigmas = np.linspace(1, 0, steps + 1)
    features = np.stack([np.ones(steps), sigmas[:-1]], axis=1)
    products = (features @ features.T)[None]
    return full_runs.FullRuns(sigmas.tolist(), products, products, [1.0] * steps)


def test_errors_come_from_inner_products():
    runs = linear_runs()
    assert planned.error(runs.velocity, 3, [2], [1.0]) == pytest.approx([1 / 6])
    assert planned.error(runs.velocity, 4, [2, 0], [2.0, -1.0]) == pytest.approx([0], abs=1e-6)
    assert planned.learned(runs.velocity, 4, [2, 0]) == pytest.approx([2, -1], abs=0.1)         # drawn a little to the newest


def test_a_plan_is_the_cheapest_of_all():
    costs = np.random.default_rng(0).random((9, 9, 9))

    def whole(path):
        return sum(costs[gap] for gap in zip(path, path[1:], [*path[2:], 8], strict=False))

    chosen = planned.plan(8, 4, lambda *gap: costs[gap])
    every = [[0, 1, *further] for count in range(3) for further in itertools.combinations(range(2, 8), count)]
    assert whole(chosen) == pytest.approx(min(map(whole, every)))
    assert len(planned.plan(8, 4, lambda older, anchor, upcoming: (upcoming - anchor) ** 2)) == 4


def test_a_line_is_followed_and_what_is_constant_is_not():
    settings = planned.MeanCache.calibrated(linear_runs(), 3, 1.0, False)["orders"]
    assert len(settings) == 3 and all(settings[step] for step in list(settings)[1:])            # nothing is older than the first
    flat = full_runs.FullRuns(linear_runs().sigmas, np.ones((1, 6, 6)), np.ones((1, 6, 6)), [1.0] * 6)
    assert not any(planned.MeanCache.calibrated(flat, 3, 1.0, False)["orders"].values())


def test_the_best_settings_that_a_number_of_calls_affords():
    def tried(calls, psnr):
        return tuning.Tried(f"{calls:g}", calls, psnr)
    every = [tried(8.4, 30), tried(9.0, 33), tried(9.8, 31), tried(14.0, 40), tried(15.2, 39)]
    assert tuning.best(every, [7, 8, 10, 15]) == ["8.4", "9", "14"]
