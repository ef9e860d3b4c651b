"""We are ToCa: the recordings of the authors' own code, replayed through the real path."""

import pytest
import torch

from tools import replay
from tools.pack import pack_module

from .conftest import RECORDINGS

STEPS = {"small": {"dit": 20, "dit_ddpm": 12, "pixart": 20, "stdit3": 13, "flux": 12, "opensora_vae": None},
         "large": {"dit": 50, "pixart": 20, "stdit3": 15, "flux": 20, "opensora_vae": None}}


def replayed(size, name):
    """The command itself: tests/host/test_open_sora_vae.py."""
    weights, io = (RECORDINGS[size] / f"{name}.{part}.safetensors" for part in ("weights", "io"))
    if size == "large" and not io.exists():
        pytest.skip(f"the large recordings are not here: {RECORDINGS[size]}")
    return replay.replay(str(weights), str(io))


@pytest.mark.parametrize("size, name", [(size, name) for size, names in STEPS.items() for name in names])
def test_recording_is_replayed_exactly(size, name):
    result, steps = replayed(size, name), STEPS[size][name]
    assert result.pop("max_rel") <= 1e-4
    choices = {} if steps is None else {"steps": steps, "mask_mismatches": 0, "full_step_mismatches": 0}
    assert result == {"family": name.removesuffix("_ddpm"), **choices}


@pytest.mark.parametrize("name, module, rule, broken, differs", [
    ("dit_ddpm", "select.scores", "influence", lambda received: torch.zeros_like(received), "mask_mismatches"),
    ("stdit3", "select.scores", "control", lambda entropy: torch.zeros_like(entropy), "mask_mismatches"),
    ("dit_ddpm", "select.scores", "staleness", lambda age, cycle: age, "mask_mismatches"),
    ("dit_ddpm", "select.scores", "spread", lambda score, *cells: score, "mask_mismatches"),
    ("dit_ddpm", "schedule", "layer_factor", lambda slope, block, divisor: 1.0, "mask_mismatches"),
    ("dit_ddpm", "schedule", "step_factor", lambda slope, step: 1.0, "mask_mismatches"),
    ("dit_ddpm", "schedule", "interval", lambda config, cycle, step: cycle, "full_step_mismatches"),
], ids=lambda value: value if isinstance(value, str) else "")
def test_a_broken_score_or_schedule_is_told(monkeypatch, name, module, rule, broken, differs):
    monkeypatch.setattr(pack_module(f"toca_core.{module}"), rule, broken)
    result = replayed("small", name)
    assert result["max_rel"] > 1e-4 and result[differs] > 0
