"""Forecasts by hand: times and features are small whole numbers."""

import math

import pytest
import torch

from toca_core.keep.forecast import Anchors, bent_weights, growth, noise_share, noisy_weights, taylor_weights, time_of


def features(*values):
    return [torch.full((1, 2, 3), float(value)) for value in values]


def anchored(order, *pairs, **options):
    anchors = Anchors(order, **{"trust": False, **options})
    for time, value in pairs:
        anchors.add(time, features(value)[0])
    return anchors


def test_a_line_through_two_anchors_and_a_parabola_through_three():
    assert taylor_weights([3, 1], 4, 1) == [1.5, -0.5]
    assert taylor_weights([2, 1, 0], 3, 2) == [3, -3, 1]            # cubes' third difference: 3 f(2) - 3 f(1) + f(0)
    assert taylor_weights([2, 1, 0], 3, 0) == [1]


@pytest.mark.parametrize("order", [0, 1, 2])
def test_polynomials_up_to_the_order_are_continued_exactly_over_uneven_times(order):
    times = [0.0, 1.0, 2.5, 3.0]
    anchors = anchored(order, *((time, 2 + time ** order) for time in times))
    assert anchors.at(5.0)[0, 0, 0] == pytest.approx(2 + 5.0 ** order)


def test_the_forecast_is_no_alias_and_no_anchor():
    anchors = anchored(1, (0, 1), (1, 3))
    anchors.at(2).zero_()
    anchors.onto(features(10)[0], 2).zero_()
    assert anchors.at(1)[0, 0, 0] == 3 and anchors.at(2)[0, 0, 0] == 5 and anchors.onto(features(10)[0], 2)[0, 0, 0] == 15
    first = anchored(1, (0, 1))
    first.at(3).zero_()
    assert first.at(3)[0, 0, 0] == 1


def test_trust_is_the_factor_that_would_have_fitted_the_last_change():
    anchors = anchored(1, (0, 0), (1, 2), trust=True)
    assert anchors.trust is None
    anchors.add(2, features(3)[0])                                  # 4 was forecast from 2, 3 came: half of the change
    assert anchors.trust.flatten().tolist() == [0.5, 0.5]
    assert anchors.at(3)[0, 0, 0] == 3.5                            # 3, and half of the change of 1
    anchors.add(3, features(4)[0])                                  # the whole change came: halfway between 0.5 and 1
    assert anchors.trust.flatten().tolist() == [0.75, 0.75]


def test_each_token_earns_its_own_trust_within_bounds():
    anchors = Anchors(1)
    for time, (one, other) in ((0, (0, 0)), (1, (1, 1)), (2, (0, 9))):
        anchors.add(time, torch.tensor([[[float(one)], [float(other)]]]))
    assert anchors.trust.flatten().tolist() == pytest.approx([0.0, 1.3])


def test_other_tokens_begin_anew_and_a_time_met_twice_counts_once():
    anchors = anchored(1, (0, 1), (1, 2), (1, 3))
    assert anchors.times == [1, 0] and anchors.at(1)[0, 0, 0] == 3
    assert not anchors.fits(torch.zeros(1, 5, 3))
    anchors.add(2, torch.zeros(1, 5, 3))
    assert anchors.times == [2] and anchors.fits(torch.zeros(1, 5, 3))


def test_memory_is_that_of_the_anchors_kept():
    anchors = anchored(1, (0, 1), (1, 2), (2, 3), trust=True)
    assert anchors.bytes == 2 * 6 * 4 + 2 * 4                       # two anchors of 6 numbers, the trust of 2 tokens


def test_times_are_shares_of_noise_or_half_the_log_snr():
    assert noise_share(0.25, flow=True) == 0.25
    assert noise_share(1.0, flow=False) == pytest.approx(math.sqrt(0.5))
    assert time_of(0.5, flow=True) == 0
    assert time_of(0.75, flow=True) == pytest.approx(math.log(3))
    assert time_of(math.e, flow=False) == pytest.approx(1)
    assert math.isfinite(time_of(1.0, flow=True)) and math.isfinite(time_of(0.0, flow=False))


def test_errors_grow_with_the_product_of_the_distances():
    assert growth([2, 1], 4) == 6
    assert growth([2], 4) == 2


def test_where_new_noise_comes_half_of_a_change_goes_on():
    assert noisy_weights([2, 1], 3, 1) == [1.5, -0.5]               # where `taylor_weights` are 2 and -1
    assert noisy_weights([2], 3, 0) == [1.0]
    anchors = anchored(1, (0, 1), (1, 2), weights=noisy_weights)
    assert anchors.at(3)[0, 0, 0] == 3                              # 2, and half of two steps of 1
    assert growth([2, 1], 4, noisy=True) == 2
    assert growth([2, 1], 2, noisy=True) == 0.5                     # another sample at one noise level


def test_a_line_bends_part_of_the_way_to_the_parabola():
    """Half of it where it sets out, a quarter one step on, a sixth two steps on; less the longer the steps are."""
    def bent(now, order=1, keep=3, step=0.1):
        said = ((index * step, index ** 2) for index in range(3))
        return anchored(order, *said, weights=bent_weights, keep=keep).at(now * step)[0, 0, 0].item()
    for step in (0.1, 1.0):
        least = math.exp(-step * step)
        assert bent(3, step=step) == pytest.approx(7 + (9 - 7) / 4 * least)
        assert bent(4, step=step) == pytest.approx(10 + (16 - 10) / 6 * least)
    assert bent(3, keep=2) == pytest.approx(7) == bent(3, keep=0)   # two anchors tell of no bend
    assert bent(3, order=2) == pytest.approx(9) and bent(3, order=0, keep=1) == 4
