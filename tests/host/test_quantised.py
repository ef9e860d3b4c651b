"""Models whose layers hold quantised weights are bound, counted and cached as what they are, whatever their layers' classes."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

import comfy.ops
import comfy.sd

from toca_core.costs.account import Sizes

from .conftest import Subject, make_subject

quantised_ops = pytest.mark.skipif(not hasattr(comfy.ops, "mixed_precision_ops"), reason="this host has no mixed-precision layers")


def quantised(weights: dict) -> dict:
    """An fp8-scaled checkpoint, as the host's quantised FLUX files are."""
    said = torch.tensor(list(json.dumps({"format": "float8_e4m3fn"}).encode()), dtype=torch.uint8)
    found = {}
    for name, weight in weights.items():
        found[name] = weight
        if name.endswith(".weight") and "blocks" in name and "norm" not in name:
            scale = (weight.abs().amax() / 448).float()
            found[name] = (weight / scale).to(torch.float8_e4m3fn)
            layer = name.removesuffix(".weight")
            found |= {f"{layer}.weight_scale": scale, f"{layer}.comfy_quant": said.clone()}
    return found


@pytest.fixture(scope="module")
def pair(pack, checkpoints, tmp_path_factory):
    """(FLUX as it is, the same with quantised layers)."""
    full = make_subject("flux", pack, checkpoints)
    path = tmp_path_factory.mktemp("quantised") / "flux.safetensors"
    save_file(quantised(load_file(checkpoints["flux"])), path)
    with torch.inference_mode():
        model = comfy.sd.load_diffusion_model(str(path), {"dtype": torch.float32})
    return full, Subject("flux", model, full.positive, full.negative)


@quantised_ops
def test_its_flops_are_those_of_the_model(pair, pack):
    full, small = (pack.systems.bound_of(subject.diffusion_model)[0] for subject in pair)
    sizes = Sizes(2, (1, 8, 8), 0, 24)
    assert small.plain_flops(sizes) == full.plain_flops(sizes) and small.skipped_flops(sizes) == full.skipped_flops(sizes)
    assert small.depths == full.depths


@quantised_ops
@pytest.mark.parametrize("settings", [{"level": "module"}, {"level": "stack"}, {"level": "output"}], ids=["module", "stack", "output"])
def test_it_is_cached_like_the_model(pair, cached, settings):
    full, small = pair
    plain, reports = small.sample(steps=8), []
    for subject in pair:
        model, found = cached(subject, **settings)
        subject.sample(model, steps=8)
        reports += found
    if settings["level"] == "module":                               # a quantised projection is computed as a whole (`later_outputs`)
        assert reports[1].flops_speedup < reports[0].flops_speedup < 1.1 * reports[1].flops_speedup
    else:
        assert reports[0].flops_speedup == pytest.approx(reports[1].flops_speedup)
    assert reports[0].model_calls == reports[1].model_calls and reports[1].note == ""
    exact, _ = cached(small, **settings, **({"tolerance": 0.0} if settings["level"] != "module" else {"fresh_ratio": 1.0}))
    assert torch.equal(small.sample(exact, steps=8), plain)


@quantised_ops
def test_pixart_of_such_layers_is_bound(pack):
    import comfy.ldm.pixart.pixartms as pixartms
    model = pixartms.PixArtMS(input_size=8, num_heads=4, hidden_size=64, depth=2, caption_channels=32, model_max_length=12,
                              dtype=torch.float32, device="cpu", operations=comfy.ops.mixed_precision_ops({}, torch.float32))
    plain = pixartms.PixArtMS(input_size=8, num_heads=4, hidden_size=64, depth=2, caption_channels=32, model_max_length=12,
                              dtype=torch.float32, device="cpu", operations=comfy.ops.disable_weight_init)
    (bound, why), (like, _) = pack.systems.bound_of(model), pack.systems.bound_of(plain)
    assert bound is not None and not why
    sizes = Sizes(2, (1, 8, 8), 0, 24)
    assert bound.plain_flops(sizes) == like.plain_flops(sizes) and bound.layout.scores == like.layout.scores
