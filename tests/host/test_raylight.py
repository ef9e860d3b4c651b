"""ToCa Cache on Ray's workers: two processes that compute one sample, each half of its tokens, decide alike and never wait for ever.

Ray and torch.distributed are real; Raylight itself needs graphics cards, and `ray_workers.Worker` stands in for its worker.
"""

import sys

import pytest
import torch

from tools.pack import ROOT, pack_module
from tools.server import free_port

from .conftest import checked_model

ray = pytest.importorskip("ray", reason="Ray is not installed")
STEPS, ROUNDING = 8, 1e-4


@pytest.fixture(scope="module")
def actors():
    """What Raylight's loader gives."""
    sys.path.append(str(ROOT / "tests" / "host"))
    import ray_workers
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setenv("RAY_worker_niceness", "0")                  # or whatever else runs here goes first
    ray.init(address="local", num_cpus=2, include_dashboard=False, logging_level="ERROR", log_to_driver=False,
             runtime_env=ray_workers.environment(ROOT))
    port, made = free_port(0), ray.remote(num_cpus=1)(ray_workers.Worker)
    yield {"workers": [made.remote(rank, 2, port) for rank in range(2)], "else": "passes through"}
    ray.shutdown()
    monkeypatch.undo()
    sys.path.remove(str(ROOT / "tests" / "host"))


@pytest.fixture(scope="module")
def node():
    return pack_module("nodes.toca_raylight").ToCaCacheRaylight


def sampled(actors, each=({}, {}), **given):
    """-> [(latent, steps at which the model ran)] of both workers. each: what only one of them is given."""
    return ray.get([worker.common_ksampler.remote(steps=STEPS, **given, **own)
                    for worker, own in zip(actors["workers"], each, strict=True)], timeout=120)


def failures(actors, each, **given) -> list[str]:
    """What each worker raised, in one line; it is asked at once, and has a minute."""
    asked = [worker.common_ksampler.remote(steps=STEPS, **given, **own) for worker, own in zip(actors["workers"], each, strict=True)]
    said = []
    for one in asked:
        with pytest.raises(ray.exceptions.RayTaskError) as caught:
            ray.get(one, timeout=60)
        said.append(str(caught.value.cause))
    return said


@pytest.mark.parametrize("widgets", [{"speed": 2.0}, {"tolerance": 5.0}, {"preset": "quality"}, {"calls": 5, "refine": 2}], ids=str)
def test_two_workers_give_what_one_process_gives(actors, node, widgets):
    tiny = checked_model("flux").tiny
    read, seam = pack_module("nodes.host.settings").read, pack_module("nodes.host.seam")
    reports = []
    alone = tiny.sample(seam.install(tiny.model, read(None, **{"preset": "auto", **widgets}), reports.append), steps=STEPS, texts=(8, 8))
    (first, asked), (second, asked_too) = sampled(node.execute(actors, **widgets).args[0])
    assert asked == asked_too and len(asked) == reports[0].calls("full")
    assert (first == second).all() and torch.tensor(first).allclose(alone, atol=ROUNDING)


def test_nothing_stays_on_the_workers(actors, node):
    before = sampled(actors)
    cached = node.execute(actors, speed=2.0).args[0]
    assert cached["else"] == "passes through" and len(sampled(cached)[0][1]) == STEPS // 2
    assert not any(ray.get([worker.wrapped.remote() for worker in actors["workers"]]))
    after = sampled(actors)
    assert all((one[0] == other[0]).all() and len(other[1]) == STEPS for one, other in zip(before, after, strict=True))
    assert node.execute(actors, enable=False).args[0] is actors


def test_they_decide_alike_whatever_each_finds(actors, node):
    """What one worker's model predicts differs from the other's by a noise of its own (fifty runs: tests/core/test_together.py)."""
    cached = node.execute(actors, tolerance=4.0).args[0]
    for seed in range(3):
        (_, first), (_, second) = sampled(cached, disturbed=0.01, seed=seed)
        assert first == second and len(first) < STEPS


def test_a_worker_that_stops_tells_the_others(actors, node):
    """The other one is told before it computes its next step; both go on with the next prompt."""
    said = failures(node.execute(actors, tolerance=1.0).args[0], ({"stops": 4}, {}))
    assert "sampler stopped" in said[0] and "Another of the processes" in said[1]
    (_, first), (_, second) = sampled(node.execute(actors, speed=2.0).args[0])
    assert first == second and len(first) == STEPS // 2


def test_what_cannot_be_cached_passes_through_and_the_log_says_why(actors, node, caplog):
    ray.get(actors["workers"][0].set_piped.remote(True))
    assert node.execute(actors).args[0] is actors and "PipeFusion" in caplog.text
    ray.get(actors["workers"][0].set_piped.remote(False))


def test_a_machine_without_the_pack_is_named(actors, node, monkeypatch, tmp_path):
    monkeypatch.setattr(pack_module("nodes.host.raylight"), "by_path", lambda name: elsewhere(str(tmp_path)))
    with pytest.raises(ValueError, match="every machine needs this pack in the same folder"):
        node.execute(actors)


def elsewhere(folder: str):
    def run(model):
        raise FileNotFoundError(folder)
    return run


def test_bad_settings_are_refused_before_a_worker_is_asked(node):
    for given, words in (({"tolerance": 1000.0}, "tolerance"), ({"preset": "paper"}, "preset"), ({"refine": 0}, "refine")):
        with pytest.raises(ValueError, match=words):
            node.execute({"workers": [None]}, **given)
    with pytest.raises(ValueError, match="takes the workers of Raylight's model loader, and this is str"):
        node.execute("a model")


def test_a_model_that_breaks_leaves_no_worker_waiting(actors, node):
    """Last of all: the workers' own group is broken after it, as Raylight's would be."""
    said = failures(node.execute(actors, tolerance=1.0).args[0], ({"breaks": 2}, {}))
    assert "model broke" in said[0] and said[1]
