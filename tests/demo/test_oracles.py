"""What single tokens between full steps could gain: the rules, and that everything known is the plain run."""

import pytest
import torch

from benchmarks import measuring, oracles
from demo.subjects import SUBJECTS

STEPS, GRID = 8, (1, 8, 16)


def test_full_steps_lie_ever_farther_apart():
    assert oracles.full_steps(8, 30) == (0, 1, 2, 5, 9, 14, 20, 27)
    for count in oracles.WHOLE:
        steps = oracles.full_steps(count, 30)
        assert len(set(steps)) == count and steps == tuple(sorted(steps)) and steps[-1] < 30


def test_which_tokens_are_chosen():
    error = torch.zeros(2, 128, 4)
    error[0, 5], error[1, 9] = 1.0, 2.0
    assert oracles.largest_error(error, 1, GRID, 3).tolist() == [[5], [9]]
    first, next_one = (oracles.spread(error, 13, GRID, step) for step in (3, 4))
    assert first.shape == (2, 13) and len(set(first[0].tolist())) == 13 and first[0].tolist() == first[1].tolist()
    assert set(first[0].tolist()) != set(next_one[0].tolist())
    rows = torch.bincount(first[0] // 16 // 2, minlength=4)         # of each quarter's height about as many
    assert rows.min() >= 2 and rows.max() <= 5


def test_what_the_others_hear():
    chosen = torch.tensor([[0, 127]])
    heard = oracles.near(2.0)(None, chosen, GRID)
    assert heard.shape == (1, 128, 2) and torch.allclose(heard.sum(-1), torch.ones(1, 128))
    assert heard[0, 1, 0] > 0.99 and heard[0, 126, 1] > 0.99
    tokens = torch.eye(128)[None]
    tokens[0, 3] = tokens[0, 127]
    assert oracles.alike(tokens, chosen, GRID)[0, 3, 1] > 0.99


@pytest.fixture(scope="module", params=list(SUBJECTS))
def oracle(request):
    subject = SUBJECTS[request.param]
    [batch] = measuring.make_batches(2, 2, subject)
    one = oracles.Oracle(subject)
    plain, _ = measuring.sample(subject.load(), oracles.variants.plain("euler", STEPS), batch, oracles.GUIDANCE)
    return one, batch, plain


def test_where_all_is_known_it_is_the_plain_run(oracle):
    """Every step full; and every token true between full steps, by whatever rule."""
    one, batch, plain = oracle
    pictures, cost = one.run(batch, STEPS, tuple(range(STEPS)))
    assert cost == STEPS and torch.allclose(pictures, plain, atol=1e-5)
    pictures, cost = one.run(batch, STEPS, (0, 1, 4), 1.0, "largest error")
    assert cost == STEPS and torch.allclose(pictures, plain, atol=1e-4)


def test_rules_differ_and_known_tokens_help(oracle):
    one, batch, plain = oracle
    forecast, cost = one.run(batch, STEPS, (0, 1, 4))
    half, more = one.run(batch, STEPS, (0, 1, 4), 0.5, "largest error")
    smooth, _ = one.run(batch, STEPS, (0, 1, 4), 0.5, "spread and near, 1")
    assert (cost, more) == (3, 5.5)
    errors = [(pictures - plain).square().mean().item() for pictures in (forecast, half, smooth)]
    assert errors[1] < errors[0] and errors[2] < errors[0] and not torch.equal(half, smooth)


def test_the_table_says_what_is_above_whole_steps(tmp_path):
    rows = [{"model": "a", "rule": "none", "full": count, "share": 0.0, "cost": float(count), "mean": 10.0 + count, "worst": 5.0 + count,
             "error": 1.0} for count in (8, 16)]
    rows.append({"model": "a", "rule": "spread", "full": 8, "share": 0.1, "cost": 16.0, "mean": 28.0, "worst": 20.0, "error": 1.0})
    assert oracles.lines(rows)[-1][-1] == "+2.0 / -1.0"
    oracles.save({**oracles.demo_quality.surroundings(), "pictures": 4, "steps": 30, "rows": rows}, tmp_path)
    assert "| a | spread | 8 | 10% | 16.0 | 28.0 / 20.0 | 1.0 | +2.0 / -1.0 |" in (tmp_path / "oracles.md").read_text()
