"""Weights that are drawn, not stored: the same numbers on every machine, from a seed and the tensors' names and shapes.

A file of drawn weights is a safetensors file whose metadata holds the seed and the shapes; its only tensors are those that a model computes
for itself, such as positions. Blocks that are alike are listed once: `blocks.*.attn.proj.bias`, with their number.
"""

import json
import math
import re
import zlib
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file

COMPUTED = ("pos_embed", "rope.freqs")                              # what a model works out when it is made
BLOCK = re.compile(r"^(\w*blocks)\.\d+\.")
# Spread over what keeps the scale, by the first part that a name has: attention is sharp, so that tokens rank clearly, modulation mild.
GAINS = {"embedding": 6.0, "table": 2.0, "qkv": 2.0, "q_linear": 3.0, "linear1": 1.5,
         "adaLN": 0.6, "mod": 0.6, "t_block": 0.6}


def draw(name: str, shape, seed: int) -> torch.Tensor:
    """Uniform numbers of numpy's RandomState, whose stream is frozen. Matrices keep the scale, norms are near 1, biases near 0."""
    stream = np.random.RandomState(zlib.crc32(f"{seed} {name}".encode()))
    values = math.sqrt(3) * (2 * stream.random_sample(tuple(shape)) - 1)                        # of variance 1
    if len(shape) == 1:
        return torch.from_numpy(0.1 * values + (not name.endswith("bias"))).float()
    gain = next((gain for part, gain in GAINS.items() if part in name), 1.0)
    return torch.from_numpy(values * (gain / math.sqrt(math.prod(shape[1:])))).float()


def weights_for(model: torch.nn.Module, seed: int, left_out: tuple = ()) -> dict:
    """Drawn weights under a model's own names, without those that name a part in `left_out`."""
    kept = {name: value for name, value in model.state_dict().items() if not any(part in name for part in left_out)}
    return {name: value.float() if name in COMPUTED else draw(name, value.shape, seed) for name, value in kept.items()}


def folded(weights: dict) -> dict:
    """Names with `*` for a block's number -> [how many there are, their shape]."""
    shapes: dict = {}
    for name, value in weights.items():
        shapes.setdefault(BLOCK.sub(r"\1.*.", name), [0, list(value.shape)])[0] += 1
    return shapes


def unfolded(shapes: dict) -> dict:
    return {name.replace("*", str(index)): shape for name, (count, shape) in shapes.items() for index in range(count)}


def save(weights: dict, seed: int, path):
    computed = {name: weights[name].contiguous() for name in COMPUTED if name in weights}
    shapes = folded({name: value for name, value in weights.items() if name not in COMPUTED})
    save_file(computed, path, {"seed": str(seed), "drawn": json.dumps(shapes)})


def load(path) -> dict | None:
    """The weights of a file of drawn ones; None for any other file."""
    with safe_open(path, "pt") as file:
        settings = file.metadata() or {}
        if "drawn" not in settings:
            return None
        computed = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, no dict
    shapes, seed = unfolded(json.loads(settings["drawn"])), int(settings["seed"])
    return computed | {name: draw(name, shape, seed) for name, shape in shapes.items()}


def written_out(path: Path, folder: Path) -> Path:
    """A file that holds its weights: the one given, or one with the same name in `folder`."""
    weights = load(path)
    if weights is None:
        return path
    save_file(weights, folder / path.name)
    return folder / path.name
