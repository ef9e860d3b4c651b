"""We are ToCa: the recordings of the authors' own code, replayed through the real path."""

from pathlib import Path

import pytest

from tools import replay

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT.parent / "shared" / "golden"


@pytest.mark.parametrize("family, steps", [("dit", 50), ("pixart", 20), ("stdit3", 15), ("flux", 20)])
def test_recording_is_replayed_exactly(family, steps):
    weights, io = GOLDEN / f"{family}.weights.safetensors", GOLDEN / f"{family}.io.safetensors"
    if not io.exists():
        pytest.skip(f"the recordings are not here: {GOLDEN}")
    result = replay.replay(str(weights), str(io))               # the command itself: tests/host/test_open_sora_vae.py
    assert result["family"] == family and result["steps"] == steps
    assert result["max_rel"] <= 1e-4 and result["mask_mismatches"] == 0 and result["full_step_mismatches"] == 0
