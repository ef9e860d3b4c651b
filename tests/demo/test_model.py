"""The bundled model itself."""

import torch
from safetensors.torch import load_file

from tools.pack import ROOT, load_host

load_host()


def test_it_follows_time_smoothly():
    """From one of the 1000 moments to the next what it knows of time changes by parts of a percent, as from step to step it should."""
    from comfy.ldm.modules.diffusionmodules.mmdit import timestep_embedding
    weight = load_file(ROOT / "demo/shapes_dit.safetensors")["t_embedder.mlp.0.weight"].float()
    known = timestep_embedding(torch.arange(1001.0), weight.shape[1]) @ weight.T
    change = (known[1:] - known[:-1]).norm(dim=1) / known[:-1].norm(dim=1)
    assert change.max() < 0.01
