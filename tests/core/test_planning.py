"""How a number of calls is shared out, by hand and over a real run's noise levels."""

import itertools
import math

import pytest

from toca_core.config import ToCaConfig
from toca_core.error_cycle import ErrorCycle
from toca_core.planning import computed, planned, remembered, worst
from toca_core.schedule import Cycle
from toca_core.timeline import Timeline

SIGMAS = [1 - step / 30 * 0.999 for step in range(31)][:30] + [0.0]


def placed(calls, sigmas=SIGMAS, **settings):
    """The steps that a run with so many calls computes."""
    config = ToCaConfig(level="output", calls=calls, **settings)
    timeline, cycle, found = Timeline(sigmas, flow=True), ErrorCycle(config, Cycle(config)), []
    for index, sigma in enumerate(sigmas[:-1]):
        moment = timeline.counted(timeline.moment(index, sigma, config), config, len(found))
        if cycle.is_full(moment):
            found.append(index)
            cycle.measured(0.01)
    return found


@pytest.mark.parametrize("calls", range(1, 33))
def test_just_so_many_calls_are_placed(calls):
    found = placed(calls)
    assert len(found) == min(calls, 30) and found[0] == 0
    assert calls < 3 or 28 in found or 29 in found                  # the last step that matters takes the others' error back


EVEN = [Timeline([9 - step for step in range(9)] + [0.0], flow=False).moment(step, 9 - step, ToCaConfig()) for step in range(9)]


@pytest.mark.parametrize("calls", range(1, 10))
def test_there_are_just_so_many_where_no_limit_gives_them(calls):
    """Every forecast adds as much as any other: a limit gives all steps, every second, or every third."""
    fewer = planned(5, [], 0.0, EVEN, 2, lambda anchors, moment: 1.0)
    found = planned(calls, [], 0.0, EVEN, 2, lambda anchors, moment: 1.0)
    assert fewer == {0, 2, 4, 6, 8} and len(found) == calls and 0 in found
    assert calls < 5 or found >= fewer


@pytest.mark.parametrize("strange", [math.inf, math.nan, 0.0])
def test_whatever_is_expected_there_is_a_plan(strange):
    for calls in range(1, 9):
        assert len(planned(calls, [], 0.0, EVEN, 2, lambda anchors, moment: strange if moment.step.index > 4 else 1.0)) == calls


def test_what_is_added_then_is_the_step_whose_forecast_adds_most():
    asked = {}

    def expected(anchors, moment):
        asked[moment.step.index] = anchors
        return {3: 1.5, 5: 2.0, 6: 1.0}.get(moment.step.index, 0.5)
    times = [moment.time for moment in EVEN]
    assert worst({0, 2, 4, 8}, (), EVEN, 2, expected) == 5
    assert asked == {1: (times[0],), 3: (times[2], times[0]), **{step: (times[4], times[2]) for step in (5, 6, 7)}}
    assert worst({0, 2, 4, 5, 8}, (), EVEN, 2, expected) == 3
    assert worst({8}, (), EVEN[5:], 2, expected) == 5 and asked[5] == (times[5],)


@pytest.mark.parametrize("calls", range(2, 30))
def test_no_lower_limit_gives_as_few_calls(calls):
    config = ToCaConfig(level="output", calls=calls)
    timeline, expected = Timeline(SIGMAS, flow=True), remembered(ErrorCycle(config, Cycle(config)).expected)
    moments = [timeline.moment(index, sigma, config) for index, sigma in enumerate(SIGMAS[:-1])]
    found, least, above = computed(0.0, (), 0.0, moments, 2, expected)
    while len(found) > calls:                                       # from one limit that makes a difference to the next
        assert least < above and computed((least + above) / 2, (), 0.0, moments, 2, expected)[0] == found
        before, (found, least, above) = found, computed(above, (), 0.0, moments, 2, expected)
        assert found != before
    chosen = planned(calls, [], 0.0, moments, 2, expected)
    assert chosen == found if len(found) == calls else chosen > found


def test_a_forecast_is_looked_at_once_however_many_plans_are_made():
    asked = []
    expected = remembered(lambda anchors, moment: asked.append((moment.step.index, anchors)) or 1.0 + moment.step.index)
    plans = [planned(calls, [], 0.0, EVEN, 2, expected) for calls in (5, 5, 4)]
    assert plans[0] == plans[1] and len(asked) == len(set(asked)) > 10


def test_gaps_widen_along_the_run_and_more_calls_narrow_them():
    gaps = [following - step for step, following in itertools.pairwise(placed(8))]
    assert gaps[0] == 1 and max(gaps) <= 8 and sorted(gaps[:-2]) == gaps[:-2]
    assert max(following - step for step, following in itertools.pairwise(placed(20))) <= 3


def test_no_gap_is_expected_to_err_much_more_than_another():
    config = ToCaConfig(level="output", calls=10)
    timeline, cycle = Timeline(SIGMAS, flow=True), ErrorCycle(config, Cycle(config))
    moments = [timeline.moment(index, sigma, config) for index, sigma in enumerate(SIGMAS[:-1])]
    steps = sorted(planned(10, [], 0.0, moments, 2, cycle.expected))

    def added(before, start, end):
        anchors = [moments[start].time, *([moments[before].time] if before is not None else [])]
        return sum(cycle.expected(anchors, moments[step]) for step in range(start + 1, end))
    costs = [added(before, start, end) for before, start, end in zip([None, *steps], steps, steps[1:], strict=False)]
    largest = max(cycle.expected([moments[start].time, moments[before].time], moments[end])
                  for before, start, end in zip(steps, steps[1:], steps[2:], strict=False))
    assert max(costs) <= sum(costs) / 4 + largest


def test_a_speed_is_a_share_of_the_evaluations():
    config = ToCaConfig(level="output", speed=3.0)
    timeline = Timeline(SIGMAS, flow=True)
    assert timeline.counted(timeline.moment(0, 1.0, config), config, 0).left == 10
    timeline.foresee([sigma for sigma in SIGMAS[:-1] for _ in range(2)])                    # a sampler that asks twice a step
    assert timeline.counted(timeline.moment(0, 1.0, config), config, 0).left == 20
    both = ToCaConfig(level="output", speed=3.0, calls=7)
    assert timeline.counted(timeline.moment(0, 1.0, both), both, 2).left == 5


def test_evaluations_that_must_be_plain_are_paid_from_the_same_purse():
    config = ToCaConfig(level="output", calls=12)
    timeline = Timeline(SIGMAS, sigma_range=(2.0, 0.2), flow=True)
    moment = timeline.counted(timeline.moment(0, 1.0, config), config, 0)
    closed = sum(sigma <= 0.2 for sigma in SIGMAS[:-1])
    assert moment.left == 12 - closed and len(moment.ahead()) == 30 - closed


def test_a_sampler_that_comes_otherwise_than_foreseen_is_taken_step_by_step():
    timeline = Timeline(SIGMAS, flow=True)
    timeline.foresee([1.0, 0.7, 0.3])
    assert timeline.ahead(1, 0.7) == [0.7, 0.3]
    assert timeline.ahead(1, SIGMAS[10]) == SIGMAS[10:-1]


def test_noise_levels_beside_one_another_by_rounding_are_one():
    """The schedule's own, and what was asked about before; what lies further off stays what it is."""
    timeline = Timeline([1.0, 0.75, 0.5, 0.25, 0.0], flow=True)
    assert [timeline.settled(sigma) for sigma in (1.0, 0.75000004, 0.6, 0.60000002, 0.4999999, 0.499)] == [1.0, 0.75, 0.6, 0.6, 0.5, 0.499]
    assert Timeline([0.5]).settled(0.4) == 0.4                      # of one level alone
    timeline.foresee([1.0, 0.75000004, 0.75])
    assert timeline.known == (1.0, 0.75, 0.75)


@pytest.mark.parametrize("steps", [4, 6, 8])
def test_of_few_steps_only_the_last_is_left_out_that_changes_nothing(steps):
    """It begins where next to no noise is left (the host's schedule "normal"); every other call is worth more."""
    sigmas = [1 - step / (steps - 1) * 0.999 for step in range(steps)] + [0.0]
    assert placed(steps - 1, sigmas) == [*range(steps - 1)]
    found = placed(steps - 2, sigmas)
    assert len(found) == steps - 2 and steps - 1 not in found
