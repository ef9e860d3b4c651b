"""How much one cached token, module or block harms the picture: the measuring, on a few tokens and steps."""

import pytest
import torch

from benchmarks import sensitivity
from demo.subjects import SUBJECTS

STEPS = 6


@pytest.fixture(scope="module", params=list(SUBJECTS))
def trial(request):
    subject = SUBJECTS[request.param]
    return sensitivity.Trial(subject, STEPS, subject.ask(1)[0], seed=0)


def test_going_back_into_a_run_ends_in_its_picture(trial):
    """Also where what is used is not old at all: the token's own residual."""
    for moment in trial.moments:
        assert trial.damage(moment, None)[0] < 1e-4
    moment = trial.moments[0]
    old, trial.residuals[moment] = trial.residuals[moment], fresh(trial, moment)
    try:
        assert max(trial.tokens(moment, torch.tensor([0, 7]))) < 1e-4
    finally:
        trial.residuals[moment] = old


def fresh(trial, moment: int) -> list:
    """What the blocks add to the tokens in the step at a moment itself."""
    found = []

    def act(call, about, ordinal):
        session = sensitivity.stack.StackCall(*sensitivity.of_a_call(*about), skip=False)
        with sensitivity.swap.swapped(session.replacements()):
            output = call()
        found.append(session.tokens)
        return output
    trial.damage(moment, act)
    return found


def test_an_old_token_harms_its_own_place_most(trial):
    """Copies of the run, each with another token: where in the picture the harm is follows the token."""
    moment, count = trial.moments[-1], trial.residuals[trial.moments[-1]][0].shape[1]
    first, last = torch.tensor([0]), torch.tensor([count - 1])
    pictures = []
    finished = trial.run
    trial.run = lambda *given: pictures.append(finished(*given)) or pictures[-1]
    try:
        alone = trial.tokens(moment, first) + trial.tokens(moment, last)
        together = trial.tokens(moment, torch.cat((first, last)))
    finally:
        trial.run = finished
    assert together == pytest.approx(alone, rel=0.01, abs=1e-6) and min(alone) > 1e-6
    harm = [(picture - trial.plain).abs().amax((0, 1)) for picture in pictures[:2]]
    rows, columns = harm[0].shape
    assert harm[0].flatten().argmax() < rows * columns / 2 <= harm[1].flatten().argmax()


def test_a_whole_block_is_no_less_than_nothing_and_everything_has_a_name(trial):
    parts = list(trial.parts())
    names = list(dict.fromkeys(name for name, _, _ in parts))
    assert len(parts) == len({(name, block) for name, _, block in parts}) and any(name.endswith("whole") for name in names)
    by_name = {name: trial.sites(trial.moments[0], sites, block) for name, sites, block in parts if block == 0}
    assert all(value > 1e-5 for value in by_name.values())


def test_tenths():
    told = sensitivity.tenths([float(value) for value in range(1, 21)])
    assert told["worst_tenth"] == 19.5 and told["best_tenth"] == 1.5 and told["worst_over_best"] == 13.0 and told["median"] == 10.5


def test_everything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(sensitivity, "SHARES", (0.5,))
    measured = sensitivity.measure(SUBJECTS["scenes"], 1, 3, STEPS)
    [row] = measured["rows"]
    assert len(row["tokens"]) == 3 and row["nothing"] < min(row["tokens"]) and row["step"] == 3
    report = {**sensitivity.demo_quality.surroundings(), "models": [measured]}
    sensitivity.save(report, tmp_path)
    text = (tmp_path / "sensitivity.md").read_text(encoding="utf-8")
    assert f"| {measured['model']} | 3 of {STEPS} |" in text and (tmp_path / "sensitivity.png").stat().st_size > 10_000
