"""Probing modules and calibrating, on the real host with small models of every system."""

import pytest
import torch

from tools.pack import pack_module

SMALL = {"steps": 9, "cfg": 3.0, "sampler_name": "euler", "scheduler": "simple", "first_seed": 3, "effort": 1, "save_as": ""}


@pytest.fixture
def user(tmp_path, monkeypatch):
    """A user folder of its own."""
    import folder_paths
    monkeypatch.setattr(folder_paths, "user_directory", str(tmp_path))
    monkeypatch.setattr(pack_module("nodes.patching.calibrating"), "REMEMBERED", {})
    return tmp_path / "toca"


def sensitivity(subject, last: float):
    """What three evaluations tell when the last one's input is `last` times that of the first."""
    import comfy.samplers
    probing = pack_module("nodes.patching.probing")

    class Repeat(comfy.samplers.Sampler):
        def sample(self, model_wrap, sigmas, extra_args, callback, noise, latent_image=None, denoise_mask=None, disable_pbar=False):
            for factor in (1.0, 1.0, last):
                model_wrap(noise * factor, sigmas[:1].expand(len(noise)), **extra_args)
            return latent_image

    run = probing.Probing(3, shares=(0.7,))
    model = probing.probed(subject.model, run)
    shape = (2, model.model.latent_format.latent_channels, *subject.frames, 16, 16)
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(subject.positive, subject.negative)
    guider.set_cfg(3.0)
    sigma = model.get_model_object("model_sampling").percent_to_sigma(0.4)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(6))
    with torch.inference_mode():
        guider.sample(noise, torch.zeros(shape), Repeat(), torch.tensor([sigma, sigma, 0.0]), disable_pbar=True, seed=0)
    return run


MODULES = {"dit": {"self_attn": 4, "mlp": 4}, "pixart": {"self_attn": 3, "cross_attn": 3, "mlp": 3},
           "open_sora": {f"{stack}.{module}": 2 for stack in ("spatial", "temporal") for module in ("self_attn", "cross_attn", "mlp")},
           "flux": {"double.img_attn": 2, "double.img_mlp": 2, "double.txt_mlp": 2, "single.attn": 3, "single.mlp": 3}}


def test_a_module_that_reuses_errs_only_where_its_input_has_changed(subject):
    same, other = sensitivity(subject, 1.0), sensitivity(subject, 1.2)
    assert {name: len(blocks) for name, blocks in same.sensitivity.items()} == MODULES[subject.name]
    assert max(max(blocks) for blocks in same.sensitivity.values()) < 1e-5
    assert min(min(blocks) for blocks in other.sensitivity.values()) > 1e-4
    assert same.cost.keys() == same.sensitivity.keys() and min(same.cost.values()) > 0


def test_probing_leaves_a_run_as_it_is(subject):
    probing = pack_module("nodes.patching.probing")
    run = probing.Probing(9)
    assert torch.equal(subject.sample(probing.probed(subject.model, run)), subject.sample())
    assert run.moments == {2, 4, 7} and len(run.calls) in (1, 2) and not run.kept
    assert all("forward" not in module.__dict__ for module in subject.diffusion_model.modules())


def calibrate(subject, target, size=(16, 16), batch=1, **changes):
    """-> the node's outputs."""
    node = pack_module("nodes.toca_calibrate").ToCaCalibrate
    latent = {"samples": torch.zeros(batch, subject.model.model.latent_format.latent_channels, *subject.frames, *size)}
    with torch.inference_mode():
        return node.execute(subject.model, subject.positive, subject.negative, latent, target, **{**SMALL, **changes}).args


def test_every_system_is_calibrated(subject, user):
    model, ratios, tolerance, cycle, curve, text = calibrate(subject, "1.3x")
    assert "Target 1.3x, 9 steps of euler, simple: tolerance" in text and tolerance > 0 and cycle >= 1
    assert curve.shape == (1, 720, 1600, 3) and 0 <= curve.min() < 0.2 and curve.max() == 1
    pack_module("toca_core.config").ToCaConfig(block_ratios=ratios)
    assert [name for name, _ in ratios] == [name for name in MODULES[subject.name] if "attn" not in name or "cross" in name]
    assert torch.isfinite(subject.sample(model)).all()
    [file] = (user / "calibrations").iterdir()
    assert file.suffix == ".json"
