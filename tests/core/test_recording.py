"""What is recorded of single tokens, by arithmetic that a reader can check."""

import pytest
import torch

from toca_core.recording import TokenRecord
from toca_core.report import RunReport, StepReport


def picture(batch=1, side=4):
    return torch.ones(batch, 4, side, side)


def test_a_run_that_computes_everything_recomputes_every_token():
    record = TokenRecord((2, 4, 4, 4), (1, 2, 2))
    record.call(picture(4), 1.0)
    maps = record.maps()
    assert maps.recomputed.shape == (2, 1, 2, 2) and (maps.recomputed == 1).all() and maps.error is None


def test_the_share_is_the_mean_over_calls():
    """One full step, one forecast, one that computes tokens 1 and 3 of four: 1/3 for the others, 2/3 for these."""
    record = TokenRecord((1, 4, 4, 4), (1, 2, 2))
    for recomputed in (1.0, 0.0, torch.tensor([[0.0, 1, 0, 1]])):
        record.call(picture(), recomputed)
    torch.testing.assert_close(record.maps().recomputed.flatten(), torch.tensor([1, 2, 1, 2]) / 3)


def test_conditionings_count_alike_whether_they_come_together_or_one_by_one():
    """Two pictures with guidance: the first two rows are one conditioning's, the last two the other's."""
    rows = torch.tensor([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0]])
    together, apart, shared = (TokenRecord((2, 4, 4, 4), (1, 2, 2)) for _ in range(3))
    together.call(picture(4), rows)
    for part in rows.split(2):
        apart.call(picture(2), part)
    shared.call(picture(4), rows[:2])
    assert together.maps().recomputed.flatten(1).tolist() == [[0.5, 0, 0.5, 0], [0, 1, 0, 0]]
    assert torch.equal(together.maps().recomputed, apart.maps().recomputed)
    assert shared.maps().recomputed.flatten(1).tolist() == rows[:2].tolist()


def test_reference_pictures_are_left_out():
    record = TokenRecord((1, 4, 4, 4), (1, 2, 2))
    record.call(picture(), torch.tensor([[0.0, 1, 0, 0, 1, 1]]))
    assert record.maps().recomputed.flatten().tolist() == [0, 1, 0, 0]


def test_crops_and_windows_are_left_out():
    record = TokenRecord((1, 4, 4, 4), (1, 2, 2))
    record.call(picture(side=2), 1.0)
    record.error(picture(side=2), picture(side=2))
    assert record.maps() is None


def test_a_tokens_error_is_relative_to_its_picture():
    """The prediction is 2 everywhere; token 1 errs by 1 in each of its four places, token 2 by 2 in one: 50% and 50%."""
    record = TokenRecord((1, 4, 4, 4), (1, 2, 2))
    error = torch.zeros(1, 4, 4, 4)
    error[..., :2, 2:], error[..., 2, 0] = 1.0, 2.0
    record.call(picture(), 1.0)
    record.error(error, torch.full((1, 4, 4, 4), 2.0))
    assert record.maps().error.flatten().tolist() == [0, 50, 50, 0]


def test_errors_are_root_mean_squares_over_full_steps_and_conditionings():
    record = TokenRecord((1, 4, 2, 2), (1, 2, 2))
    record.call(picture(side=2), 1.0)
    record.error(torch.cat((picture(side=2) * 0.3, picture(side=2) * 0.4)), picture(2, side=2))
    record.error(torch.zeros(2, 4, 2, 2), picture(2, side=2))
    assert record.maps().error.item() == pytest.approx(100 * ((0.09 + 0.16) / 4) ** 0.5)


def test_the_last_patch_may_be_cut_and_videos_have_frames():
    """Three rows in patches of two, three frames in patches of two: what is there of a token is averaged, nothing is added to it."""
    record = TokenRecord((1, 4, 3, 3, 2), (2, 2, 2))
    video = torch.ones(1, 4, 3, 3, 2)
    record.call(video, torch.tensor([[0.0, 0.25, 0.5, 1.0]]))
    record.error(video, video)
    maps = record.maps()
    assert maps.recomputed.shape == maps.error.shape == (1, 2, 2, 1)
    assert maps.recomputed.flatten().tolist() == [0.0, 0.25, 0.5, 1.0] and (maps.error == 100).all()


def test_of_a_sample_of_several_parts_the_first_is_the_picture():
    """A video of 2 x 2 x 3 in 4 channels, and 5 numbers of sound behind it, all in a row."""
    record = TokenRecord((1, 4, 2, 2, 3), (1, 1, 1), packed=53)
    said, error = torch.full((2, 1, 53), 2.0), torch.zeros(2, 1, 53)
    error[..., 4 * 12 - 1], error[..., 48:] = 2.0, 100.0            # the last place of the last channel; the sound counts for nothing
    said[..., 48:] = 1000.0
    record.call(said, 0.5)
    record.error(error, said)
    maps = record.maps()
    assert maps.recomputed.shape == maps.error.shape == (1, 2, 2, 3) and maps.latent == (2, 2, 3)
    assert maps.error.flatten()[:-1].eq(0).all() and maps.error.flatten()[-1].item() == pytest.approx(50.0)
    record.call(torch.ones(1, 4, 2, 2, 3), 1.0)                      # no whole sample of the run
    assert (record.maps().recomputed == 0.5).all()


def test_errors_of_fewer_tokens_than_the_picture_has_are_left_out():
    record = TokenRecord((1, 4, 4, 4), (1, 1, 1))
    record.call(picture(), 1.0)
    record.token_error(picture(), torch.ones(1, 4))
    assert record.maps().error is None


@pytest.mark.parametrize(("refine", "kinds", "saved"), [(1, "ffppfp", 3 * 4 - 3 * 0.5), (3, "fppppppppfpp", 2 * 4 - 10 * 0.5)],
                         ids=["steps", "parts"])
def test_the_time_saved_is_what_partial_steps_would_have_taken(refine, kinds, saved):
    """Full steps take 4 seconds, but for the first, which warms up; of parts a third as many steps would have been run."""
    seconds = [{"f": 4.0, "p": 0.5}[kind] for kind in kinds]
    steps = [StepReport(index, 0.5, {"f": "full", "p": "partial"}[kind], seconds=taken if index else 9.0)
             for index, (kind, taken) in enumerate(zip(kinds, seconds, strict=True))]
    assert RunReport("model", "auto", {"refine": refine}, steps).seconds_saved == saved
    assert RunReport("model", "auto", {}, steps[:1]).seconds_saved is None
