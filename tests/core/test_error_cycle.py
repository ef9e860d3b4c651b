"""The controller by hand: errors are told to it, times are the steps' numbers."""

from dataclasses import replace
from functools import partial
from itertools import pairwise

import pytest

from toca_core.checks import ConfigError
from toca_core.config import ToCaConfig
from toca_core.error_cycle import ErrorCycle
from toca_core.schedule import Cycle, Moment, Step


def kinds(total, error=None, share=0.1, noise=1.0, drawn=1.0, **settings):
    """F and s for every step of a run in which each full step finds the same error per squared step."""
    config = ToCaConfig(level="stack", **settings)
    cycle, word = ErrorCycle(config, Cycle(config), drawn), ""
    for index in range(total):
        full = cycle.is_full(at(index, total, 1.0 if index == total - 1 else share, noise))
        if full and index and error is not None:
            cycle.measured(error * cycle_growth(cycle))
        word += "F" if full else "s"
    return word


def at(index, total, share, noise=1.0):
    """A step whose time is its number, at a noise level of 1, so that its width is its share."""
    return Moment(Step(index, index, total), 1.0, float(index), share, noise, ((float(index), share),))


def cycle_growth(cycle):
    """The error of a line through its anchors, for a feature with a constant second derivative."""
    now, *_ = cycle.anchors
    product = 1
    for anchor in cycle.earlier:
        product *= abs(now - anchor)
    return product


def test_first_steps_and_the_last_are_full_and_gaps_are_bounded():
    assert kinds(20, error=0.0, tolerance=1.0) == "FFF" + "sssssssF" * 2 + "F"
    assert kinds(20, error=0.0, tolerance=1.0, max_gap=2) == "FFF" + "sF" * 8 + "F"
    assert kinds(12, error=0.0, tolerance=1.0, order=0) == "FF" + "sssssssF" + "sF"
    assert kinds(12, error=0.0, tolerance=1.0, warmup_steps=5) == "FFFFF" + "ssssss" + "F"


def test_the_last_step_that_matters_is_full_and_one_from_next_to_no_noise_is_not():
    """Schedules such as `normal` end in a step from next to no noise; only a tolerance of next to nothing computes it."""
    def ends(tolerance):
        config = ToCaConfig(level="stack", tolerance=tolerance)
        cycle, word, levels = ErrorCycle(config, Cycle(config)), "", [1.0, 0.8, 0.6, 0.4, 0.2, 0.001, 0.0]
        for index, (now, following) in enumerate(zip(levels, levels[1:], strict=False)):
            full = cycle.is_full(Moment(Step(index, index, 6), now, -now, 1 - following / now, now, ((-now, now - following),)))
            if full and index:
                cycle.measured(0.5)
            word += "F" if full else "s"
        return word
    assert ends(100.0) == "FFFsFs" and ends(1e-6) == "FFFFFF"


def test_an_error_above_the_tolerance_leaves_no_step_out():
    assert kinds(12, error=1.0, tolerance=1.0) == "F" * 12
    assert kinds(12, tolerance=1.0) == "F" * 12                     # nothing measured, nothing trusted


def test_a_tolerance_bounds_what_a_gap_adds():
    """Errors of 0.01 x (d + 1) d / 2 x share 0.1 and so on: the sum over the gap stays at or below the tolerance of 1 percent."""
    found = kinds(30, error=0.005, tolerance=1.0)
    gaps = [len(gap) for gap in found.strip("F").split("F") if gap]
    assert gaps and max(gaps) <= 7
    assert kinds(30, error=0.005, tolerance=4.0).count("F") < found.count("F") < kinds(30, error=0.005, tolerance=0.2).count("F")


def test_noise_counts_with_its_square():
    assert kinds(30, error=0.005, noise=0.5, tolerance=1.0) == kinds(30, error=0.005, tolerance=4.0)


def test_the_less_of_a_picture_is_drawn_the_more_late_errors_count():
    """The same in the mean over all shares of noise, so that a tolerance means the same."""
    weights = [[ErrorCycle(ToCaConfig(), None, drawn).weight((index + 0.5) / 100) for index in range(100)] for drawn in (1.0, 0.5, 0.0)]
    whole, half, little = weights
    assert sum(whole) == pytest.approx(sum(half), rel=1e-3) and sum(whole) == pytest.approx(sum(little), rel=1e-3)
    assert whole[10] < half[10] < little[10] and whole[99] > half[99] > little[99]
    late = {"error": 0.005, "noise": 0.2, "tolerance": 1.0}
    assert kinds(30, **late, drawn=0.1).count("F") > kinds(30, **late).count("F")


def test_the_debt_is_each_skipped_steps_share_of_the_error_found():
    config = ToCaConfig(level="stack", tolerance=100.0)
    cycle = ErrorCycle(config, Cycle(config))
    for index in range(3):
        assert cycle.is_full(at(index, 30, 0.1))
        cycle.measured(0.0)
    assert not cycle.is_full(at(3, 30, 0.1)) and not cycle.is_full(at(4, 30, 0.2))
    cycle.config = ToCaConfig(level="stack", tolerance=100.0, max_gap=3)
    assert cycle.is_full(at(5, 30, 0.1))
    found = (1 * 2 * 0.1 + 2 * 3 * 0.2) / (3 * 4)                       # distances to the anchors at 2 and 1
    assert cycle.debt(at(5, 30, 0.1)) == pytest.approx(found / 0.1)     # in units of what this step would put in


def test_where_tokens_are_forecast_the_debt_counts_by_each_steps_noise_level():
    """The same steps, each of its share and not of its width: earlier ones, of more noise, leave less."""
    def debt(relative):
        config = ToCaConfig(level="stack", tolerance=100.0, max_gap=3)
        cycle = ErrorCycle(config, Cycle(config), relative=relative)
        moments = [replace(at(index, 30, 0.0), sigma=sigma, share=1 - after / sigma, pieces=((float(index), sigma - after),))
                   for index, (sigma, after) in enumerate(pairwise([10.0, 8.0, 6.0, 5.0, 4.0, 3.0, 2.0]))]
        for index, moment in enumerate(moments):
            assert cycle.is_full(moment) == (index not in (3, 4))
            cycle.measured(0.0)
        return cycle.debt(moments[-1])
    assert debt(False) == pytest.approx((1 * 2 * 1.0 + 2 * 3 * 1.0) / (3 * 4) / 1.0)
    assert debt(True) == pytest.approx((1 * 2 / 5 + 2 * 3 / 4) / (3 * 4) / (1 / 3))


def test_without_a_tolerance_the_fixed_cycle_holds():
    assert kinds(9, cycle=3) == "FssFssFss"


def test_a_tolerance_needs_the_stack_level():
    with pytest.raises(ConfigError, match="tolerance is 0.2, which needs level stack"):
        ToCaConfig(tolerance=0.2)


def rates(errors, **about):
    """What is expected of the next forecasts after each of these errors, all measured at the same growth."""
    config = ToCaConfig(level="stack", tolerance=1.0)
    cycle, found = ErrorCycle(config, Cycle(config), **about), []
    for error in errors:
        cycle.earlier, cycle.anchors = [1.0, 0.0], [3.0, 1.0]
        cycle.measured(error)
        found.append(cycle.rate * cycle.growth([1.0, 0.0], 3.0))
    return found


def test_the_next_forecasts_err_as_the_newest_but_no_less_than_most():
    """Two thirds of the geometric mean of all measured."""
    assert rates([0.4, 0.8]) == pytest.approx([0.4, 0.8])
    assert rates([0.4, 0.1, 0.1]) == pytest.approx([0.4, 2 / 3 * 0.2, 2 / 3 * 0.004 ** (1 / 3)])
    assert rates([0.4, 0.3]) == pytest.approx([0.4, 0.3])           # which is above that
    assert rates([0.4, 0.1, 0.1], noisy=True) == pytest.approx([0.4, 0.1, 0.1])


def planned(noisy):
    """The full steps of a run of 30 evaluations, of which ten are computed, as planned before any error is known."""
    config = ToCaConfig(level="output", calls=10)
    cycle, found = ErrorCycle(config, Cycle(config), noisy=noisy), []
    moments = [at(index, 30, 0.1, noise=1 - index / 30) for index in range(30)]
    for index, moment in enumerate(moments):
        if cycle.is_full(replace(moment, left=10 - len(found), ahead=partial(moments.__getitem__, slice(index, None)))):
            found.append(index)
    return found


def test_under_new_noise_steps_are_planned_earlier():
    """The clean picture's errors, which are forecast there, fall along the run and grow as the distance does."""
    noisy, other = planned(True), planned(False)
    assert len(noisy) == len(other) == 10
    assert all(one <= two for one, two in zip(noisy, other, strict=True)) and noisy != other


def test_what_an_error_counts_in_a_plan_falls_with_the_noise():
    """Under new noise with the square of its share once more; a step from next to no noise, the run's last, counts as in any run."""
    config = ToCaConfig(level="output", calls=10)
    noisy, other = (ErrorCycle(config, Cycle(config), noisy=noisy) for noisy in (True, False))
    assert [other.planned_weight(noise) for noise in (1.0, 0.5)] == pytest.approx([1 + 0.02, 0.25 + 0.02])
    assert [noisy.planned_weight(noise) for noise in (1.0, 0.5)] == pytest.approx([1 + 0.01, 0.25 ** 2 + 0.01])
    assert noisy.planned_weight(0.005) == noisy.weight(0.005) and noisy.weight(0.5) == other.weight(0.5)


def test_an_error_of_nothing_is_no_measure_of_the_others():
    assert rates([0.0, 0.4, 0.0]) == pytest.approx([0.0, 0.4, 2 / 3 * 0.4])


def test_what_was_measured_of_something_else_is_forgotten():
    config = ToCaConfig(level="stack", tolerance=1.0)
    cycle = ErrorCycle(config, Cycle(config))
    for error in (100.0, 1.0):
        cycle.earlier, cycle.anchors = [1.0, 0.0], [3.0, 1.0]
        cycle.measured(error)
        before = cycle.rate * 6
        cycle.restart()
        assert cycle.rate is None and before == pytest.approx(error)
