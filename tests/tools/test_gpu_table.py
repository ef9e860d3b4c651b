"""`run.py gpu` where there is no card: a few small blocks, the same rows."""

from types import SimpleNamespace

import pytest
import torch

from benchmarks import gpu

STEPS = 4


@pytest.fixture(scope="module")
def bench():
    torch.manual_seed(0)
    bench = gpu.Bench("qwen_image", "bf16", SimpleNamespace(small=True, steps=STEPS, repeats=1, depth=None, pixels=None))
    bench.run([mode for mode in gpu.modes_of("qwen_image", STEPS) if mode.name in ("auto, speed 2", "level stack, speed 2")])
    return bench


def test_every_mode_beside_the_plain_run(bench):
    plain, auto, stack = bench.rows
    assert (plain["mode"], plain["calls"], plain["apart"]) == ("plain", STEPS, 0.0)
    assert (auto["mode"], auto["calls"], auto["flops_speedup"]) == ("auto, speed 2", STEPS // 2, 2.0)
    assert (stack["mode"], stack["calls"]) == ("level stack, speed 2", STEPS // 2) and 1 < stack["flops_speedup"] < 2
    assert all(0 < row["apart"] < 50 for row in (auto, stack)) and stack["plain_unchanged"]


def test_a_mode_that_fails_is_a_row_that_says_so(bench):
    def broken(model):
        raise RuntimeError("no such kernel")

    before = len(bench.rows)
    bench.run([gpu.Mode("broken", broken)])
    assert "no such kernel" in bench.rows[-1]["failed"] and len(bench.rows) == before + 2


def test_published_settings_are_tried_where_there_are_some():
    names = {system: [mode.name for mode in gpu.modes_of(system, 20)] for system in ("flux", "mochi")}
    assert names["flux"][0] == "paper" and "paper" not in names["mochi"]
