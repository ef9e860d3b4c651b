"""Scores and selection on numbers small enough to follow."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from toca_core.config import ToCaConfig
from toca_core.schedule import queries_read
from toca_core.select import attention, scores
from toca_core.select.selection import Selector


def dense_map(q, k):
    return torch.softmax(q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5, dim=-1)


def test_influence_has_unit_length():
    assert torch.allclose(scores.influence(torch.tensor([[3.0, 4.0]])), torch.tensor([[0.6, 0.8]]))


def test_control_adds_one_to_the_entropy():
    assert torch.allclose(scores.control(torch.tensor([[2.0, 3.0]])), torch.tensor([[0.6, 0.8]]))


def test_staleness_is_measured_in_cycles():
    assert scores.staleness(torch.tensor([0.0, 2.0]), 4).tolist() == [0.0, 0.5]


def test_spread_raises_the_best_of_each_cell():
    score = torch.tensor([[1.0, 2.0, 3.0, 3.0,
                           4.0, 3.0, 1.0, 5.0]])                    # 2 rows of 4: two 2 x 2 cells
    raised = scores.spread(score, (2, 4), 2, 0.5)
    assert raised.tolist() == [[1.0, 2.0, 3.0, 3.0, 6.0, 3.0, 1.0, 7.5]]


def test_spread_on_a_grid_that_cells_do_not_fill():
    score = torch.arange(1.0, 16.0).view(1, 15)                     # 3 rows of 5
    raised = scores.spread(score, (3, 5), 2, 1.0).view(3, 5)
    assert raised.tolist() == [[1, 2, 3, 4, 5], [6, 14, 8, 18, 20], [11, 24, 13, 28, 30]]


def test_attention_received_equals_the_dense_map(monkeypatch):
    q, k = torch.randn(2, 2, 3, 20, 8).unbind(0)
    expected = dense_map(q, k).sum(dim=-2).mean(dim=1)
    torch.testing.assert_close(attention.received(q, k), expected)
    monkeypatch.setitem(attention.CHUNK, "cpu", 7 * 6 * 20)             # seven queries at a time
    torch.testing.assert_close(attention.received(q, k), expected)


def test_from_some_of_the_queries_it_is_estimated():
    """Those rows of the map, as if they stood for all."""
    q, k = torch.randn(2, 2, 3, 24, 8).unbind(0)
    rows = attention.spread_rows(6, 24, 3, q.device)
    each = [dense_map(q, k)[:, head, rows[head]].sum(dim=-2) for head in range(3)]
    torch.testing.assert_close(attention.received(q, k, rows), 4 * sum(each) / 3)
    torch.testing.assert_close(attention.received(q, k, rows).sum(-1), torch.full((2,), 24.0))


@pytest.mark.parametrize("count, length", [(256, 4608), (512, 4096), (300, 301), (7, 7), (1, 50), (576, 4608)])
def test_rows_are_spread_over_a_picture(count, length):
    """One in every stretch, over the columns of a square picture as evenly, and in every head elsewhere."""
    heads, bounds = 4, [index * length // count for index in range(count + 1)]
    spread = attention.spread_rows(count, length, heads, "cpu")
    for rows in spread:
        assert all(start <= row < stop for row, start, stop in zip(rows.tolist(), bounds, bounds[1:], strict=False))
    if count > 200 and length > 4 * count:
        columns = (spread % 64).flatten().bincount(minlength=64)
        assert columns.min() >= 0.5 * columns.float().mean() and columns.max() <= 2 * columns.float().mean()
        assert len({tuple(rows.tolist()) for rows in spread}) == heads


def test_how_many_queries_are_read():
    assert [queries_read(ToCaConfig(), tokens) for tokens in (64, 256, 1024, 4608)] == [64, 256, 256, 576]
    assert [queries_read(ToCaConfig(score_queries=1.0), tokens) for tokens in (64, 4608)] == [64, 4608]
    assert queries_read(ToCaConfig(score_queries=0.25), 4608) == 1152


def test_entropy_is_averaged_over_the_conditionings(monkeypatch):
    q, k = torch.randn(4, 3, 20, 8), torch.randn(4, 3, 5, 8)        # two conditionings of two pictures
    c = dense_map(q, k).mean(dim=1)
    each = -(c * torch.log(c + 1e-7)).sum(dim=-1)
    torch.testing.assert_close(attention.entropy(q, k, 2), (each[:2] + each[2:]) / 2)
    monkeypatch.setitem(attention.CHUNK, "cpu", 6 * 12 * 5)
    torch.testing.assert_close(attention.entropy(q, k, 2), (each[:2] + each[2:]) / 2)


def test_masked_context_counts_as_absent():
    q, k = torch.randn(2, 3, 20, 8), torch.randn(2, 3, 5, 8)
    mask = torch.zeros(2, 1, 5)
    mask[:, :, 3:] = torch.finfo(torch.float32).min
    torch.testing.assert_close(attention.entropy(q, k, 1, mask), attention.entropy(q, k[:, :, :3], 1))


def selector(**settings):
    config = ToCaConfig(**{"score": "self_attn", "staleness_weight": 10.0, "cycle": 2, **settings})
    chosen = Selector(config, 2, ("mlp",), (1, 2, 2), seed=0)
    chosen.lay_out(1, 4, torch.device("cpu"))
    chosen.basis[:] = torch.tensor([[[4.0, 3.0, 2.0, 1.0]], [[1.0, 2.0, 3.0, 4.0]]])
    return chosen


def test_plan_takes_the_best_and_ages_the_rest():
    chosen = selector()
    first = chosen.plan("mlp", [1, 2])
    assert [order[:, :count].tolist() for order, count in zip(first, [1, 2], strict=True)] == [[[0]], [[3, 2]]]
    assert chosen.ages["mlp"].tolist() == [[[0, 1, 1, 1]], [[1, 1, 0, 0]]]
    second = chosen.plan("mlp", [1, 2])                             # staleness now outweighs influence
    assert [order[:, :count].tolist() for order, count in zip(second, [1, 2], strict=True)] == [[[1]], [[1, 0]]]
    assert chosen.ages["mlp"].tolist() == [[[1, 0, 2, 2]], [[0, 0, 1, 1]]]


def test_select_one_block_equals_the_plan_of_all():
    planned, single = selector(), selector()
    for _ in range(3):
        plan = planned.plan("mlp", [2, 2])
        each = [single.select("mlp", block, 2) for block in range(2)]
        assert all(torch.equal(order[:, :2], fresh) for order, fresh in zip(plan, each, strict=True))
        assert torch.equal(planned.ages["mlp"], single.ages["mlp"])


def test_nothing_fresh_only_ages():
    chosen = selector()
    assert chosen.plan("mlp", [0, 0]) is None
    assert chosen.ages["mlp"].unique().tolist() == [1.0]


def test_every_frame_of_a_video_is_spread_on_its_own():
    config = ToCaConfig(score="self_attn", staleness_weight=0.0, spread_bonus=9.0, spread_cell=2)
    chosen = Selector(config, 1, ("mlp",), (2, 1, 2), seed=0)       # two frames of 1 x 2 tokens
    chosen.lay_out(1, 4, torch.device("cpu"))
    chosen.basis[:] = torch.tensor([[[4.0, 3.0, 1.0, 2.0]]])
    assert chosen.order("mlp")[0, 0].tolist() == [0, 3, 1, 2]       # the best of the second frame before the second of the first


def test_a_picture_among_other_tokens_is_spread_where_it_lies():
    """Text before it, a reference after it; where its place is not known, nothing is."""
    config = ToCaConfig(score="self_attn", staleness_weight=0.0, spread_bonus=9.0, spread_cell=2)
    for start, expected in ((2, [0, 2, 5, 3, 6, 4, 1]), (None, [0, 2, 3, 6, 5, 4, 1])):
        chosen = Selector(config, 1, ("mlp",), (2, 1, 2), seed=0, start=lambda tokens, start=start: start)
        chosen.lay_out(1, 7, torch.device("cpu"))
        chosen.basis[:] = torch.tensor([[[50.0, 1.0, 4.0, 3.5, 1.5, 2.0, 3.0]]])
        assert chosen.order("mlp")[0, 0].tolist() == expected


def test_other_tokens_start_anew():
    chosen = selector()
    chosen.plan("mlp", [1, 1])
    chosen.lay_out(1, 4, torch.device("cpu"))
    assert chosen.ages["mlp"].sum() == 6
    chosen.lay_out(1, 5, torch.device("cpu"))
    assert chosen.ages["mlp"].shape == (2, 1, 5) and chosen.ages["mlp"].sum() == 0


def test_random_selection_repeats_with_its_seed():
    a, b = selector(score="random"), selector(score="random")
    assert torch.equal(a.order("mlp"), b.order("mlp"))
    assert not torch.equal(a.order("mlp"), a.order("mlp"))


def test_half_precision_ranks_alike_and_makes_no_map_of_32_bits():
    made = []

    class Watched(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor) and result.ndim == 4 and result.shape[-1] == 500:
                made.append(result.dtype)
            return result

    q, k = torch.randn(2, 1, 4, 500, 16, generator=torch.Generator().manual_seed(0)).unbind(0)
    exact = attention.received(q, k)
    with Watched():
        found = attention.received(q.bfloat16(), k.bfloat16())
    assert found.dtype == torch.float32 and set(made) == {torch.bfloat16}
    assert torch.corrcoef(torch.stack([exact[0], found[0]]).argsort(1).argsort(1).float())[0, 1] > 0.999
