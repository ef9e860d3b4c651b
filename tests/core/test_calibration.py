"""From a target and measured points to a tolerance, and from sensitivities to shares: checked by hand."""

import math

import pytest

from toca_core import presets
from toca_core.calibration import (
    Point,
    Target,
    as_speed,
    choose,
    fewest_full,
    nearest,
    parse_target,
    ratios_by_sensitivity,
    rising,
    search,
)
from toca_core.checks import ConfigError
from toca_core.config import ToCaConfig

SPEED, LIKENESS = Target("speed", 2.5), Target("psnr", 40)


@pytest.mark.parametrize("text, target", [
    ("2.5x", Target("speed", 2.5)), (" 3 X ", Target("speed", 3)), ("2,5×", Target("speed", 2.5)), ("2 times", Target("speed", 2)),
    ("PSNR >= 35", Target("psnr", 35)), ("psnr≥35.5 dB", Target("psnr", 35.5)), ("35 dB", Target("psnr", 35)),
    ("PSNR 35", Target("psnr", 35)),
    ("10 calls", Target("calls", 10)), ("1 call", Target("calls", 1)),
    ("within 6 GB", Target("memory", 6)), ("6GB", Target("memory", 6)), ("< 0.5 gb", Target("memory", 0.5))])
def test_targets_are_read_as_people_write_them(text, target):
    assert parse_target(text) == target == parse_target(str(target))


@pytest.mark.parametrize("text", ["", "fast", "2.5", "x", "35", "6 bananas", "-2x", "2.5x please", "PSNR", "1e3x"])
def test_anything_else_is_refused_with_the_forms(text):
    with pytest.raises(ConfigError) as error:
        parse_target(text)
    assert all(words in str(error.value) for words in (repr(text), "such as 2.5x", "PSNR >= 35 or 35 dB", "within 6 GB"))


@pytest.mark.parametrize("text, limits", [("1x", "above 1 and below 100"), ("PSNR 120", "above 5 and below 99"),
                                          ("0 GB", "above 0 and below 1024"), ("0 calls", "above 0 and below 10000")])
def test_a_target_out_of_reach_is_refused_with_the_limits(text, limits):
    with pytest.raises(ConfigError, match=limits):
        parse_target(text)


def point(tolerance, speedup=1.0, psnr=(50.0,)):
    return Point(tolerance, speedup, speedup, 1.0, tuple(psnr))


def test_the_uncertainty_is_the_standard_error_of_the_mean():
    assert point(1, psnr=(40, 42, 44)).mean == 42 and point(1, psnr=(40, 42, 44)).uncertainty == pytest.approx(2 / math.sqrt(3))
    assert point(1).uncertainty == math.inf


def test_a_likeness_is_reached_where_the_mean_less_its_standard_error_is():
    """38, 40 and 42 are 40 in the mean, give or take 2 / sqrt(3): not surely 40, but 38.8. Of one picture nothing is known but itself."""
    three = point(1, psnr=(38, 40, 42))
    assert three.expected == pytest.approx(40 - 2 / math.sqrt(3)) and point(1, psnr=(40,)).expected == 40
    assert three.beyond(Target("psnr", 38.9)) and not three.beyond(Target("psnr", 38.8))


def test_what_falls_is_levelled():
    assert rising([1, 3, 2, 4]) == [1, 2.5, 2.5, 4]
    assert rising([3, 2, 1]) == [2, 2, 2] and rising([1, 2]) == [1, 2]


def test_calls_are_a_speed_of_the_run_that_they_are_of():
    assert as_speed(Target("calls", 8), 20) == SPEED == as_speed(SPEED, 20)
    assert str(as_speed(Target("calls", 8), 20)) == "8 calls" and str(as_speed(SPEED, 20)) == "2.5x"
    with pytest.raises(ConfigError, match="target is 20 calls, but a run without the cache takes 20; give fewer"):
        as_speed(Target("calls", 20), 20)


def test_a_target_is_read_off_the_line_in_the_logarithm_of_the_tolerance():
    """2.5x is half way from 2x to 3x, and so is 0.2 from 0.1 to 0.4 in its logarithm; 40 dB is half way from 44 to 36."""
    points = [point(0.4, 3, (36, 36)), point(0.1, 2, (44, 44))]
    assert choose(points, SPEED) == choose(points, LIKENESS) == 0.2
    assert choose(points, Target("speed", 4)) == 0.4 and choose(points, Target("speed", 1.5)) == 0.1
    assert choose(points, Target("psnr", 50)) == 0.1 and choose(points, Target("psnr", 20)) == 0.4
    assert nearest([*points, point(0.21, 2.6)], SPEED).tolerance == 0.21


@pytest.mark.parametrize("target, reached", [(SPEED, 10 ** 0.25), (LIKENESS, 1.0), (Target("speed", 0.4), 10 ** -0.8)])
def test_the_search_encloses_the_target_and_reads_it_off(target, reached):
    """A model whose speed-up is 2 + log10(tolerance) * 2, and whose PSNR is 40 - 10 log10(tolerance): both are straight lines."""
    tried = []

    def measure(tolerance):
        tried.append(tolerance)
        return point(tolerance, 2 + 2 * math.log10(tolerance), (40 - 10 * math.log10(tolerance),))

    best = nearest(search(measure, target), target)
    assert best.tolerance == pytest.approx(reached, rel=0.03) and best.meets(target)
    assert tried[0] == presets.TOLERANCE and len(tried) <= 7 and len(set(tried)) == len(tried)


def test_a_target_that_is_never_reached_ends_the_search():
    points = search(lambda tolerance: point(tolerance, 1.2), SPEED)
    assert nearest(points, SPEED).tolerance == points[-1].tolerance == pytest.approx(12.8)
    assert not nearest(points, SPEED).meets(SPEED)


@pytest.mark.parametrize("steps, noise, full", [(1, 1.0, 1), (4, 1.0, 4), (4, 0.0, 3), (20, 1.0, 6), (50, 1.0, 9), (50, 0.0, 9)])
def test_how_few_steps_can_be_full(steps, noise, full):
    """Three at the start; the last, or the one before it where that starts from no noise; one after each gap of 8, or of 2 in runs of fewer
    than 10 steps."""
    assert fewest_full(presets.auto(steps), steps, noise) == full


def test_shares_are_in_proportion_and_keep_the_mean():
    assert ratios_by_sensitivity({"mlp": [1, 3]}, {"mlp": 1}, 0.2) == (("mlp", (0.1, 0.3)),)


def test_what_a_block_cannot_take_goes_to_the_others():
    """1, 2 and 7 tenths of a sum of 1.5 are 0.15, 0.3 and 1.05: the last one is cut to 1, and 0.5 are left for 1 and 2."""
    [(name, shares)] = ratios_by_sensitivity({"mlp": [1, 2, 7]}, {"mlp": 1}, 0.5)
    assert name == "mlp" and shares == pytest.approx((1 / 6, 1 / 3, 1), abs=1e-4)


def test_the_mean_is_of_flops():
    """Two units of sensitivity, each one block: 3 x share + 1 x share = 0.2 x (3 + 1)."""
    shares = dict(ratios_by_sensitivity({"mlp": [1.0], "cross_attn": [1.0]}, {"mlp": 3, "cross_attn": 1}, 0.2))
    assert shares == {"mlp": (0.2,), "cross_attn": (0.2,)}
    shares = dict(ratios_by_sensitivity({"mlp": [1.0], "cross_attn": [5.0]}, {"mlp": 3, "cross_attn": 1}, 0.2))
    assert shares == {"mlp": (0.1,), "cross_attn": (0.5,)} and pytest.approx(0.8) == 3 * 0.1 + 0.5


def test_shares_are_settings_and_a_model_that_minds_nothing_gets_the_mean():
    assert ratios_by_sensitivity({"mlp": [0.0, 0.0]}, {"mlp": 1}, 0.2) == (("mlp", (0.2, 0.2)),)
    assert ratios_by_sensitivity({"mlp": [2, 5]}, {"mlp": 1}, 1.0) == (("mlp", (1.0, 1.0)),)
    ToCaConfig(block_ratios=ratios_by_sensitivity({"mlp": [2, 5]}, {"mlp": 1}, 0.3))
