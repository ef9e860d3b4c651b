"""Places of computed steps found by outcome: the search, and that what it asks for is what is computed."""

import torch

from benchmarks import measuring, places
from demo.subjects import SCENES

STEPS = 8


def test_the_search_ends_where_no_move_gains(monkeypatch):
    """Likeness that falls with the distance to places that are known."""
    best, tried = (0, 2, 5, 7), []
    placed = places.Placed.__new__(places.Placed)
    placed.steps = STEPS

    def run(batch, calls, at):
        tried.append(at)
        return torch.zeros(1, 3, 4, 4) + 0.01 * sum(abs(one - other) for one, other in zip(at, best, strict=True))

    placed.run = run
    assert placed.found(None, torch.zeros(1, 3, 4, 4), (0, 1, 3, 5)) == best
    assert len(tried) == len(set(tried)) and all(at[0] == 0 and at == tuple(sorted(set(at))) and at[-1] < STEPS for at in tried)


def test_what_is_asked_for_is_computed():
    placed = places.Placed(SCENES, STEPS)
    [batch] = measuring.make_batches(1, 1, SCENES)
    computed = []
    hook = placed.model.model.diffusion_model.double_blocks[0].register_forward_pre_hook(lambda *_: computed.append(True))
    try:
        planned = placed.planned(batch, 4)
        assert len(planned) == len(computed) == 4 and planned[0] == 0
        computed.clear()
        others = placed.run(batch, 4, (0, 3, 4, 6))
        assert len(computed) == 4
        assert torch.equal(placed.run(batch, 4, planned), placed.run(batch, 4)) and not torch.equal(others, placed.run(batch, 4))
        computed.clear()
        assert torch.equal(placed.run(batch, STEPS, tuple(range(STEPS))), placed.reference(batch))
    finally:
        hook.remove()


def test_the_table(tmp_path):
    row = {"model": "a", "calls": 4, "name": "planned", "places": (0, 1), "mean": 20.0, "worst": 10.0, "gained": 0.0, "error": 0.0}
    rows = [row, {**row, "name": "found by outcome", "mean": 22.5, "gained": 2.5, "error": 0.6}]
    places.save({**places.demo_quality.surroundings(), "pictures": 4, "steps": 30, "rows": rows}, tmp_path)
    assert "| a | 4 | found by outcome | 22.5 / 10.0 | +2.5 | 0.6 | 0, 1 |" in (tmp_path / "places.md").read_text()
