"""`run.py compiling`: beside torch.compile nothing of ours is compiled block by block, and nothing comes out differently."""

import pytest
import torch

from benchmarks import compiling
from tools import zoo


@pytest.fixture(scope="module")
def rows():
    tiny = zoo.builders()["flux"].make()
    return {mode: compiling.measure(tiny, "flux", mode, whole=False, first=True) for mode in ("auto", "stack", "paper")}


def test_what_is_compiled_gives_what_is_not(rows):
    assert all(row["apart"] < 1e-5 and row["same steps"] for row in rows.values())


def test_no_later_run_compiles_anew(rows):
    assert all(row["more"].endswith(", 0") for row in rows.values())


def test_skipped_steps_compile_nothing(rows):
    """Level output runs the model as it is; level stack stands between its blocks, and is not in their graphs."""
    assert rows["stack"]["graphs"] == rows["auto"]["graphs"]
    assert rows["paper"]["graphs"] < 5 * rows["auto"]["graphs"]


@pytest.mark.parametrize("name", ["flux_deep", "open_sora_deep"])
def test_blocks_make_no_graph_each(name):
    """torch.compile gives a function up after a few graphs, and all that it calls with it."""
    with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True):
        row = compiling.measure(compiling.MADE[name](), name, "paper", whole=False, first=True)
    assert row["same steps"] and row["apart"] < 1e-5 and row["more"].endswith(", 0")
