"""What single tokens between full steps could gain: the rules, and that everything known is the plain run."""

from functools import partial

import pytest
import torch

from benchmarks import measuring, oracles
from demo.subjects import SUBJECTS

STEPS, GRID = 8, (1, 8, 16)
ROUNDING = 1e-4                 # a residual is a difference that is added again: 2e-5 in eight steps on one processor


def test_full_steps_lie_ever_farther_apart():
    assert oracles.full_steps(8, 30) == (0, 1, 2, 5, 9, 14, 20, 27)
    for count in oracles.WHOLE:
        steps = oracles.full_steps(count, 30)
        assert len(set(steps)) == count and steps == tuple(sorted(steps)) and steps[-1] < 30


def test_which_tokens_are_chosen():
    error = torch.zeros(2, 128, 4)
    error[0, 5], error[1, 9] = 1.0, 2.0
    assert oracles.largest_error(error, 1, GRID, 3, None).tolist() == [[5], [9]]
    first, next_one = (oracles.spread(error, 13, GRID, step, None) for step in (3, 4))
    assert first.shape == (2, 13) and len(set(first[0].tolist())) == 13 and first[0].tolist() == first[1].tolist()
    assert set(first[0].tolist()) != set(next_one[0].tolist())
    rows = torch.bincount(first[0] // 16 // 2, minlength=4)         # of each quarter's height about as many
    assert rows.min() >= 2 and rows.max() <= 5


def test_what_harms_most_is_not_what_errs_most():
    error, effect = torch.ones(1, 3, 2), torch.zeros(2, 1, 3, 2)
    error[0, 0] = 5.0
    effect[:, 0, 2, 0] = torch.tensor([1.0, -1.0])
    assert oracles.effects.damage(effect, error).tolist() == [[0.0, 0.0, 1.0]]
    assert oracles.largest_damage(error, 1, GRID, 3, effect).tolist() == [[2]]


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
    assert cost == STEPS and torch.allclose(pictures, plain, atol=ROUNDING)
    pictures, cost = one.run(batch, STEPS, (0, 1, 4), 1.0, "largest error")
    assert cost == STEPS and torch.allclose(pictures, plain, atol=ROUNDING)


def test_rules_differ_and_known_tokens_help(oracle):
    one, batch, plain = oracle
    forecast, cost = one.run(batch, STEPS, (0, 1, 4))
    half, more = one.run(batch, STEPS, (0, 1, 4), 0.5, "largest error")
    smooth, _ = one.run(batch, STEPS, (0, 1, 4), 0.5, "spread and near, 1")
    assert (cost, more) == (3, 5.5)
    errors = [(pictures - plain).square().mean().item() for pictures in (forecast, half, smooth)]
    assert errors[1] < errors[0] and errors[2] < errors[0] and not torch.equal(half, smooth)


def test_effects_are_what_a_moved_token_does(oracle, monkeypatch):
    """A token's residual moved a little at one step, against the gradient through the run."""
    _, batch, _ = oracle
    felt, found = oracles.effects.Effects(batch.subject.load()), {}
    known = felt.of(batch, STEPS, oracles.GUIDANCE, 1)
    assert set(known) == {(step, 1) for step in range(STEPS)}
    weights = torch.randn(batch.noise.shape, generator=torch.Generator().manual_seed(batch.seed))
    place, token = (3, 1), (1, 40)
    direction = torch.nn.functional.normalize(known[place][0][token], dim=0)

    def move(self, tokens):
        moved = torch.zeros_like(tokens)
        if (self.at, self.ordinal) == place:
            moved[token] = found["by"] * direction
        return moved

    monkeypatch.setattr(oracles.effects.Effects, "move", move)
    monkeypatch.setattr(felt, "euler", partial(drawn, felt, found))
    for by in (-0.1, 0.1):
        found["by"] = by
        felt.of(batch, STEPS, oracles.GUIDANCE, 0)
    change = ((found[0.1] - found[-0.1]) * weights).sum() / 0.2
    assert change.item() == pytest.approx(known[place][0][token].norm().item(), rel=0.05)


def drawn(felt, found, model, x, sigmas, extra_args=None, callback=None, disable=None):
    with torch.no_grad():
        for index in range(len(sigmas) - 1):
            x = felt.step(model, index, sigmas, extra_args, x)
    found[found["by"]], felt.found = x, {}
    return x


def test_the_table_says_what_is_above_whole_steps(tmp_path):
    rows = [{"model": "a", "rule": "none", "full": count, "share": 0.0, "cost": float(count), "mean": 10.0 + count, "worst": 5.0 + count,
             "error": 1.0} for count in (8, 16)]
    rows.append({"model": "a", "rule": "spread", "full": 8, "share": 0.1, "cost": 16.0, "mean": 28.0, "worst": 20.0, "error": 1.0})
    assert oracles.lines(rows)[-1][-1] == "+2.0 / -1.0"
    oracles.save({**oracles.demo_quality.surroundings(), "pictures": 4, "steps": 30, "rows": rows}, tmp_path)
    assert "| a | spread | 8 | 10% | 16.0 | 28.0 / 20.0 | 1.0 | +2.0 / -1.0 |" in (tmp_path / "oracles.md").read_text()
