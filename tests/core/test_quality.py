"""How alike pictures are: on pictures whose figures can be worked out by hand."""

import math

import pytest
import torch

from toca_core import quality


def flat(value, side=16):
    return torch.full((1, 3, side, side), value)


def test_psnr_of_a_known_error():
    assert quality.psnr(flat(0.5), flat(0.6)).item() == pytest.approx(20.0, abs=1e-4)           # 10 log10(1 / 0.1^2)
    assert quality.psnr(flat(0.5), flat(0.5)).item() == math.inf
    assert quality.psnr(flat(0.5), flat(0.6), peak=10.0).item() == pytest.approx(40.0, abs=1e-4)


def test_ssim_of_identical_pictures_is_one():
    pictures = torch.rand(2, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(quality.ssim(pictures, pictures), torch.ones(2))


def test_ssim_of_flat_pictures_compares_their_means_alone():
    assert quality.ssim(flat(0.4), flat(0.6)).item() == pytest.approx((2 * 0.24 + 1e-4) / (0.16 + 0.36 + 1e-4), rel=1e-3)


def test_ssim_of_opposite_checkerboards():
    """Every window has the mean 0.5 and the variance 0.1^2; the covariance is its negative."""
    side = torch.arange(16)
    board = (0.1 * (1 - 2 * ((side[:, None] + side) % 2))).expand(1, 3, 16, 16)
    expected = (-2 * 0.01 + 9e-4) / (2 * 0.01 + 9e-4)
    assert quality.ssim(0.5 + board, 0.5 - board).item() == pytest.approx(expected, rel=1e-3)


def test_windows_are_gaussian_and_whole():
    dot = torch.zeros(1, 1, 21, 21)
    dot[..., 10, 10] = 1
    spread = quality.blurred(dot)
    assert spread.shape == (1, 1, 11, 11) and spread.sum().item() == pytest.approx(1, rel=1e-5)
    assert (spread[..., 5, 7] / spread[..., 5, 5]).item() == pytest.approx(math.exp(-4 / (2 * 1.5 ** 2)), rel=1e-5)


def test_an_identical_picture_counts_99_db_in_a_mean():
    assert quality.mean_psnr([math.inf, 41.0]) == 70.0 and quality.mean_psnr([math.inf]) == 99.0


def test_a_picture_that_is_not_finite_has_no_psnr():
    """Not even to itself; one of a batch does not touch the others."""
    for value in (math.nan, math.inf):
        broken = flat(0.5).repeat(2, 1, 1, 1)
        broken[1, 0, 3, 3] = value
        for other in (flat(0.6).repeat(2, 1, 1, 1), broken):
            first, second = quality.psnr(broken, other).tolist()
            assert not math.isnan(first) and math.isnan(second)
