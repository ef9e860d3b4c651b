"""Other nodes that remember answers, on the same model: what is reported really ran, and the picture is that of one cache."""

import pytest
import torch

from comfy.patcher_extension import WrappersMP

LEVELS = ["stack", "output"]


def blocks_run(subject):
    """A list that grows by one each time the first block really runs, and how to stop that."""
    ran = []
    handle = subject.diffusion_model.blocks[0].attn.register_forward_hook(lambda *_: ran.append(1))
    return ran, handle.remove


def settings(pack, level, tolerance=20.0):
    return pack.settings.Settings("custom", pack.config.ToCaConfig(level=level, tolerance=tolerance))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("other", ["EasyCacheNode", "LazyCacheNode"])
@pytest.mark.parametrize("first", [True, False], ids=["before", "after"])
def test_the_hosts_caches_take_no_part_and_the_report_says_so(tiny_dit, pack, other, level, first):
    import comfy_extras.nodes_easycache as easycache
    node = getattr(easycache, other)

    def add(model):
        return node.execute(model, 0.5, 0.0, 1.0, False).args[0]
    reports, alone = [], pack.seam.install(tiny_dit.model, settings(pack, level), lambda report: None)
    expected = tiny_dit.sample(alone, steps=12)
    if first:
        model = pack.seam.install(add(tiny_dit.model), settings(pack, level), reports.append)
    else:
        model = add(pack.seam.install(tiny_dit.model, settings(pack, level), reports.append))
    ran, stop = blocks_run(tiny_dit)
    result = tiny_dit.sample(model, steps=12)
    stop()
    assert torch.equal(result, expected)
    assert len(ran) == reports[0].calls("full") < 12
    assert f"{other.removesuffix('Node')} on the same model took no part in this run" in reports[0].note
    once, again = (tiny_dit.sample(add(tiny_dit.model), steps=12) for _ in range(2))
    assert torch.equal(once, again)                                 # alone it works on


class Remembers:
    """A wrapper that answers every third call with its last answer."""

    def __init__(self):
        self.calls, self.last = 0, None

    def __call__(self, executor, *args, **kwargs):
        self.calls += 1
        if self.calls % 3 == 0:
            return self.last
        self.last = executor(*args, **kwargs)
        return self.last


@pytest.mark.parametrize("level", [*LEVELS, "module"])
@pytest.mark.parametrize("kind", ["DIFFUSION_MODEL", "APPLY_MODEL"])
@pytest.mark.parametrize("first", [True, False], ids=["before", "after"])
def test_no_full_step_is_reported_that_never_ran(tiny_dit, pack, cached, level, kind, first):
    def add(model):
        model = model.clone()
        model.add_wrapper_with_key(getattr(WrappersMP, kind), "remembers", Remembers())
        return model
    reports = []
    chosen = settings(pack, level) if level != "module" else pack.settings.Settings("custom", pack.config.ToCaConfig(score="self_attn"))
    if first:
        model = pack.seam.install(add(tiny_dit.model), chosen, reports.append)
    else:
        model = add(pack.seam.install(tiny_dit.model, chosen, reports.append))
    ran, stop = blocks_run(tiny_dit)
    assert tiny_dit.sample(model, steps=12).isfinite().all()
    stop()
    report = reports[0]
    assert report.calls("full") <= len(ran)
    if report.calls("other"):
        assert "Another node answered" in report.note and {step.kind for step in report.steps[-6:]} <= {"plain", "other"}


@pytest.mark.parametrize("level", LEVELS)
def test_the_model_runs_once_in_a_full_step(tiny_dit, pack, level):
    """No second pass: whatever is outside the blocks runs once too."""
    reports, embedded = [], []
    handle = tiny_dit.diffusion_model.x_embedder.register_forward_hook(lambda *_: embedded.append(1))
    tiny_dit.sample(pack.seam.install(tiny_dit.model, settings(pack, level), reports.append), steps=12)
    handle.remove()
    assert len(embedded) == (12 if level == "stack" else reports[0].calls("full"))
