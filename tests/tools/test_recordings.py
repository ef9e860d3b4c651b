"""How recordings of the authors' code are made: weights that are drawn again, their modules in a place of their own, what is refused."""

import importlib
import subprocess
import sys
import types

import torch
from safetensors import safe_open

from tools.authors import drawn, stand_ins
from tools.authors.code import importable
from tools.environment import PROJECT

FOLDER = PROJECT / "tests" / "recordings"
WEIGHT = [[0.7451551556587219, 0.640263557434082], [-0.2634239196777344, -0.14454184472560883]]
NORM = [1.1516624689102173, 0.9041551351547241]


def test_drawn_weights_are_the_same_everywhere():
    """Or a recording could not be replayed on another machine: the numbers themselves."""
    assert drawn.draw("blocks.0.attn.proj.weight", (2, 2), seed=0).tolist() == WEIGHT
    assert drawn.draw("norm1.weight", (2,), seed=0).tolist() == NORM
    assert drawn.draw("norm1.weight", (2,), seed=1).tolist() != NORM


def test_a_file_of_drawn_weights_holds_what_is_computed_and_no_more(tmp_path):
    block = torch.nn.ModuleDict({"proj": torch.nn.Linear(3, 2)})
    model = torch.nn.ModuleDict({"x_embedder": torch.nn.Linear(2, 3), "blocks": torch.nn.ModuleList([block, block])})
    model.register_buffer("pos_embed", torch.arange(4.0))
    weights = drawn.weights_for(model, seed=5)
    drawn.save(weights, 5, tmp_path / "weights.safetensors")
    with safe_open(tmp_path / "weights.safetensors", "pt") as file:
        assert list(file.keys()) == ["pos_embed"]
    again = drawn.load(tmp_path / "weights.safetensors")
    assert again.keys() == model.state_dict().keys() == weights.keys()
    assert all(torch.equal(again[name], value) for name, value in weights.items())
    assert not torch.equal(weights["blocks.0.proj.weight"], weights["blocks.1.proj.weight"])


def test_the_authors_modules_leave_nothing_behind(tmp_path):
    """Two of their folders have a package `diffusion` each, and this project has modules of the same names as theirs."""
    (tmp_path / "models.py").write_text("from timm.layers import use_fused_attn\nfused = use_fused_attn()")
    before, path = set(sys.modules), list(sys.path)
    sys.modules["models"] = other = types.ModuleType("models")
    try:
        with importable(tmp_path, ("models",), stand_ins.DIT):
            assert importlib.import_module("models").fused is False
        assert sys.modules.pop("models") is other
    finally:
        sys.modules.pop("models", None)
    assert sys.path == path and not [name for name in set(sys.modules) - before if name.startswith(("timm", "models"))]


def test_each_picture_sees_its_own_caption():
    """Two pictures of one token each, captions of two words and of one."""
    mask = stand_ins.BlockDiagonalMask.from_seqlens([1, 1], [2, 1]).materialize((1, 2, 2, 3), torch.float32, "cpu")
    low = -torch.inf
    assert mask[0, 1].tolist() == [[0, 0, low], [low, low, 0]]


def test_without_a_checkout_it_says_what_is_wanted(tmp_path):
    done = subprocess.run([sys.executable, "tools/record.py", str(tmp_path), "--out", str(tmp_path / "out"), "--only", "dit"], cwd=PROJECT,
                          capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "Shenyi-Z/ToCa" in done.stderr and str(tmp_path / "DiT-ToCa") in done.stderr


def test_the_recordings_are_small():
    files = list(FOLDER.glob("*.safetensors"))
    assert len(files) == 12 and sum(path.stat().st_size for path in files) < 2e6
