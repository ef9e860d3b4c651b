"""Processes that compute one sample: real ones, over gloo, each with a small torch model and errors of its own."""

import multiprocessing
import random
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from tools.server import free_port

RUNS, STEPS, NOISE = 50, 20, 0.003
SIGMAS = torch.linspace(1, 0, STEPS + 1).tolist()


def sample(rank: int, seed: int, tolerance: float, together, breaks: int | None = None):
    """One run of a model whose answers differ a little from process to process -> (which steps computed, the report)."""
    import toca_core
    generator, computed = torch.Generator().manual_seed(1000 * rank + seed), []
    x = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    loop = toca_core.CachedLoop(torch.nn.Identity(), SIGMAS, level="output", tolerance=tolerance, together=together)

    def velocity(step):
        if step == breaks:
            raise ValueError("the model broke")
        computed.append(step)
        return torch.sin(3 * x + sigma) + NOISE * torch.randn(x.shape, generator=generator)

    try:
        for step, (sigma, following) in enumerate(zip(SIGMAS, SIGMAS[1:], strict=False)):
            x = x + (following - sigma) * loop(sigma, x, partial(velocity, step))
    except BaseException:
        loop.finish(failed=True)
        raise
    return computed, loop.finish()


def started(rank: int, port: int):
    dist.init_process_group("gloo", rank=rank, world_size=2, init_method=f"tcp://127.0.0.1:{port}", timeout=timedelta(seconds=60))


def many(rank: int, agreed: bool):
    """What was computed in each of many runs of random settings."""
    from toca_core.together import Alone, Together
    draw = random.Random(0)
    return [sample(rank, seed, draw.choice([0.02, 0.05, 0.1, 0.2, 0.5, 1.0]), Together() if agreed else Alone())[0] for seed in range(RUNS)]


def one_breaks(rank: int):
    """-> (what each said of a run in which the model of the first breaks, seconds, what they computed in the next run)."""
    from toca_core.together import Together
    began, said = time.monotonic(), ""
    try:
        sample(rank, 0, 0.0, Together(), breaks=5 if rank == 0 else None)
    except (ValueError, RuntimeError) as error:
        said = str(error)
    return said, time.monotonic() - began, sample(rank, 1, 1.0, Together())[0]


def budgets(rank: int):
    """What memory two processes count with, of which one has more; the second time both run their model on the CPU."""
    from types import SimpleNamespace

    from toca_core.config import ToCaConfig
    from toca_core.keep.memory import Budget, MemoryPlan
    from toca_core.together import Together
    together, found = Together(), []
    for host in ((5e9, 3e9)[rank], None):
        plan = MemoryPlan(SimpleNamespace(budget=lambda *_, host=host: Budget((1e9, 2e9)[rank], host, given=False)))
        plan.open(ToCaConfig(), torch.zeros(1, 3, 4, 4), together)
        found.append((plan.budget.device, plan.budget.host))
    return found


@pytest.fixture(scope="module")
def both():
    """both(function, ...) -> what it gave in each of two processes, to which its rank is said first."""
    port, context, patch = free_port(0), multiprocessing.get_context("spawn"), pytest.MonkeyPatch()
    inherited = [entry for entry in sys.path if not Path(entry, "tests", "__init__.py").exists()]       # the host has a package `tests`
    patch.setattr(sys, "path", inherited)
    pools = [ProcessPoolExecutor(1, context, started, (rank, port)) for rank in range(2)]
    yield lambda function, *args: [one.result(300) for one in [pool.submit(function, rank, *args) for rank, pool in enumerate(pools)]]
    for pool in pools:
        pool.shutdown()
    patch.undo()


def test_they_decide_alike_in_many_runs(both):
    first, second = both(many, True)
    assert first == second and len({len(computed) for computed in first}) > 3


def test_by_themselves_they_would_not(both):
    first, second = both(many, False)
    assert first != second


def test_one_that_fails_is_not_waited_for(both):
    """And the next run is as any other."""
    (first, _, computed), (second, waited, computed_too) = both(one_breaks)
    assert first == "the model broke" and "Another of the processes" in second and waited < 10
    assert computed == computed_too and len(computed) < STEPS


def test_the_least_memory_decides(both):
    assert both(budgets) == 2 * [[(1e9, 3e9), (1e9, None)]]
