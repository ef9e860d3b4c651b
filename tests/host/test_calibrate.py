"""Probing modules and calibrating, on the real host with small models of every system."""

import json
import math

import pytest
import torch

from tools.pack import pack_module

SPLIT = [0, 6, 8, 14], [1, 7, 9, 15]    # of the demo model's classes: each side has every shape, in two of the four colours
SMALL = {"steps": 9, "cfg": 3.0, "sampler_name": "euler", "scheduler": "simple", "first_seed": 3, "effort": 1, "save_as": ""}


@pytest.fixture
def user(tmp_path, monkeypatch):
    """A user folder of its own."""
    import folder_paths
    monkeypatch.setattr(folder_paths, "user_directory", str(tmp_path))
    monkeypatch.setattr(pack_module("nodes.host.calibrating"), "REMEMBERED", {})
    return tmp_path / "toca"


def sensitivity(subject, last: float):
    """What three evaluations tell when the last one's input is `last` times that of the first."""
    import comfy.samplers
    probing = pack_module("nodes.host.probing")

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
    probing = pack_module("nodes.host.probing")
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
    assert curve.shape == (1, 1480, 820, 3) and 0 <= curve.min() < 0.2 and curve.max() == 1
    pack_module("toca_core.config").ToCaConfig(block_ratios=ratios)
    assert [name for name, _ in ratios] == [name for name in MODULES[subject.name] if "attn" not in name or "cross" in name]
    assert torch.isfinite(subject.sample(model)).all()
    [file] = (user / "calibrations").iterdir()
    assert file.suffix == ".json"


@pytest.mark.parametrize("subject", ["dit", "flux"], indirect=True)
def test_without_a_vae_it_previews_as_the_host_does(subject, user, monkeypatch):
    """Where the user has previews on, and the model's latents have colours."""
    import latent_preview

    import comfy.utils
    shown = []
    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", lambda done, total, picture, **_: picture and shown.append(picture[1].size))
    for method, size in (("none", None), ("latent2rgb", (16, 16))):
        monkeypatch.setattr(latent_preview.args, "preview_method", latent_preview.LatentPreviewMethod.from_string(method))
        calibrate(subject, "1.3x", first_seed=1 if size else 2)
        assert set(shown) == ({size} if size else set())


def test_what_is_known_is_not_sampled_again(tiny_dit, user, monkeypatch):
    first = calibrate(tiny_dit, "1.3x")
    calibrating = pack_module("nodes.host.calibrating")
    monkeypatch.setattr(calibrating, "REMEMBERED", {})             # as after a restart
    monkeypatch.setattr(calibrating.Sampling, "run", lambda *_, **__: pytest.fail("it sampled"))
    again = calibrate(tiny_dit, "1.3x")
    assert again[1:4] == first[1:4] and again[5] == first[5] and torch.equal(again[4], first[4])
    with pytest.raises(pytest.fail.Exception):
        calibrate(tiny_dit, "1.3x", first_seed=4)


def test_seeds_count_on_past_the_largest(tiny_dit, user):
    """2**64 - 1, then 0: of two samplings, that of seed 0 is the same as a first one's."""
    calibrating = pack_module("nodes.host.calibrating")
    latent = {"samples": torch.zeros(1, 4, 16, 16)}
    last, zero = (calibrating.Sampling(tiny_dit.model, tiny_dit.positive, tiny_dit.negative, latent, 3, 1.0, "euler", "simple", seed)
                  for seed in (2 ** 64 - 1, 0))
    with torch.inference_mode():
        assert torch.equal(last.run(tiny_dit.model, 1)[0], zero.run(tiny_dit.model, 0)[0])
    assert "Target 1.3x" in calibrate(tiny_dit, "1.3x", first_seed=2 ** 64 - 1, effort=2, sensitivity=False)[5]


def test_pictures_that_are_not_finite_are_refused(tiny_dit, user):
    broken = type(tiny_dit)("dit", tiny_dit.model.clone(), tiny_dit.positive, tiny_dit.negative)
    broken.model.set_model_sampler_cfg_function(lambda args: args["cond"] * math.nan)
    with pytest.raises(ValueError, match="uncached pictures hold values that are no finite numbers"):
        calibrate(broken, "1.3x")
    assert not list((user / "calibrations").glob("*"))


def test_a_damaged_file_is_passed_over(tiny_dit, user, caplog):
    calibrating = pack_module("nodes.host.calibrating")
    latent = {"samples": torch.zeros(1, 4, 16, 16)}
    sampling = calibrating.Sampling(tiny_dit.model, tiny_dit.positive, tiny_dit.negative, latent, 9, 3.0, "euler", "simple", 3)
    runs = calibrating.Calibration(sampling, 1, probe=True)
    empty = runs.recall()
    assert not caplog.text and not empty["points"]
    point = {"tolerance": 0.2, "speedup": 2, "wall": 2, "cycle": 2, "psnr": [40]}
    whole = {"points": [point], "sensitivity": {"mlp": [1]}, "cost": {"mlp": 1}}
    runs.file.parent.mkdir(parents=True)
    runs.file.write_text(json.dumps(whole))
    assert runs.recall()["points"][0.2].psnr == (40.0,) and not caplog.text
    changed = [{"points": 1}, {"points": [{"psnr": None}]}, {"cost": {}}, {"points": [{**point, "psnr": []}]}, {"cost": {"mlp": "1"}},
               {"sensitivity": {"mlp": [-1]}}, {"sensitivity": {"mlp": [10 ** 400]}}, *(
                   {"points": [{**point, **wrong}]} for wrong in ({"tolerance": -1}, {"tolerance": 0}, {"speedup": None}, {"wall": "2"},
                                                                  {"psnr": [[40]]}, {"cycle": float("nan")}, {"more": 1}))]
    for damaged in ("", "{", "[]", "{}", "[" * 100_000, "9" * 2_000_000, *(json.dumps({**whole, **wrong}) for wrong in changed)):
        caplog.clear()
        runs.file.write_text(damaged)
        assert runs.recall() == empty and f"{runs.file} is passed over" in caplog.text


def test_earlier_settings_on_the_model_are_replaced(tiny_dit, cached, user):
    plain = calibrate(tiny_dit, "1.3x")
    model, reports = cached(tiny_dit, fresh_ratio=0.0)
    other = type(tiny_dit)("dit", model, tiny_dit.positive, tiny_dit.negative)
    assert calibrate(other, "1.3x")[5] == plain[5] and not reports     # known already: the same model to it


@pytest.mark.parametrize("target, changes, words", [
    ("9x", {}, "of 9 steps at least 6 are computed in full"),
    ("PSNR >= 35", {"steps": 4}, "of 4 steps at least 4 are computed in full"),
    ("soon", {}, "write a speed such as 2.5x"),
    ("2x", {"save_as": "../up"}, "save_as is '../up'"),
    ("2x", {"save_as": "Auto"}, "a preset of ToCa Cache already"),
    ("within 0.000001 GB", {}, "the smallest cache takes")])
def test_what_cannot_be_is_refused(tiny_dit, user, target, changes, words):
    with pytest.raises(ValueError, match=words.replace("(", r"\(")):
        calibrate(tiny_dit, target, **changes)
    assert not user.exists()


def test_a_latent_of_other_channels_is_refused(tiny_dit, user):
    node = pack_module("nodes.toca_calibrate").ToCaCalibrate
    with pytest.raises(ValueError, match="The latent has 3 channels"):
        node.execute(tiny_dit.model, tiny_dit.positive, tiny_dit.negative, {"samples": torch.ones(1, 3, 16, 16)}, "2x", **SMALL)


def test_memory_is_what_the_run_then_takes(tiny_dit, user):
    """Level output keeps three anchors of 4 x 16 x 16 numbers for both conditionings: 3 x 2 x 1024 x 4 bytes."""
    model, ratios, tolerance, cycle, curve, text = calibrate(tiny_dit, "within 1 GB", sensitivity=True)
    assert "level output, same, 24.0 KB" in text and ratios == () and tolerance == 0.2
    *_, text = calibrate(tiny_dit, "within 0.000012 GB")           # 12.9 KB
    assert "level output, bf16" in text and "kept in bf16 instead" in text


@pytest.mark.parametrize("sampler, steps", [("heun", 6), ("euler_ancestral", 9), ("uni_pc", 9), ("dpm_adaptive", 9), ("dpmpp_sde", 6)])
def test_other_samplers_are_calibrated_too(tiny_dit, user, sampler, steps):
    *_, text = calibrate(tiny_dit, "1.2x", sampler_name=sampler, steps=steps, sensitivity=False)
    assert f"{steps} steps of {sampler}" in text


def test_presets_are_saved_used_and_checked(tiny_dit, pack, user):
    files, cache = pack_module("nodes.host.user_files"), pack_module("nodes.toca_cache").ToCaCache
    outputs = calibrate(tiny_dit, "1.3x", save_as="my style-2")
    assert files.saved_presets() == ["my style-2"] and files.load_preset("my style-2").tolerance == outputs[2]
    [listed] = [entry for entry in cache.define_schema().inputs if entry.id == "preset"]
    assert listed.options == ["auto", "quality", "paper", "custom", "my style-2"]
    model = cache.execute(tiny_dit.model, True, "my style-2", start_percent=0.0, end_percent=1.0).args[0]
    assert torch.equal(*(tiny_dit.sample(one, scheduler="simple") for one in (model, outputs[0])))
    for content, words in (('{"cycle": 0}', "cycle is 0"), ('{"cycles": 3}', "does not hold a preset"), ("[", "does not hold a preset")):
        files.preset_file("my style-2").write_text(content)
        with pytest.raises(pack.config.ConfigError, match=words):
            files.load_preset("my style-2")
    with pytest.raises(pack.config.ConfigError, match="this machine has no file"):
        files.load_preset("gone")


def test_widgets_that_were_changed_go_before_a_saved_preset(pack):
    saved = pack.config.ToCaConfig(level="stack", tolerance=0.4, cache_dtype="bf16", memory_budget=2.0)
    widgets = pack.config.ToCaConfig(start_percent=0.2, memory_budget=1.0)
    merged = pack.settings.with_widgets(saved, widgets, None)
    assert (merged.start_percent, merged.memory_budget, merged.cache_dtype, merged.tolerance) == (0.2, 1.0, "bf16", 0.4)
    assert pack.settings.with_widgets(saved, widgets, 0.8).tolerance == 0.8


def test_a_fingerprint_is_of_values_and_of_what_is_done_with_a_model(tiny_dit):
    marks = pack_module("nodes.host.fingerprint")
    ones, again, zeros = (marks.fingerprint(1, {"a": values}) for values in (torch.ones(2), torch.ones(2), torch.zeros(2)))
    assert ones == again != zeros
    assert marks.fingerprint(object()) != marks.fingerprint([]) and marks.fingerprint(["a", "b"]) != marks.fingerprint(["ab"])
    guide, model = pack_module("nodes.models.dit_loader").guide_first, tiny_dit.model
    changed = [model, model.clone(), model.clone(), model.clone(), model.clone()]
    guide(changed[1], 3)
    guide(changed[2], 2)
    changed[3].add_patches({"diffusion_model.blocks.0.mlp.fc1.bias": ("diff", (torch.ones(192),))})
    changed[4].model_options["transformer_options"]["mask"] = pack_module("nodes.host.regions").TokenMask(torch.ones(1, 8, 8), 1)
    prints = [marks.fingerprint(marks.model_parts(one)) for one in changed]
    assert len(set(prints)) == 5 and marks.fingerprint(marks.model_parts(model.clone())) == prints[0]


def test_a_speed_holds_on_classes_and_seeds_not_seen_and_a_likeness_is_what_a_run_then_has(pack, demo, user):
    """Chosen on red circles and green squares, triangles and diamonds; of a likeness on others, `run.py calibration` measures enough."""
    seen, unseen = (type(demo)("demo", demo.model, pack.dit_loader.conditioning(labels), demo.negative) for labels in SPLIT)
    sampled = {"steps": 12, "scheduler": "normal", "batch": 4, "size": (64, 64)}
    tolerance, text = (calibrate(seen, "1.7x", sensitivity=False, **sampled)[index] for index in (2, 5))
    plain, reports = seen.sample(**sampled), []
    model = pack.seam.install(demo.model, pack.settings.Settings("auto", pack.config.ToCaConfig(), tolerance=tolerance), reports.append)
    told = pack_module("toca_core.quality").psnr(seen.sample(model, **sampled), plain, peak=float(plain.amax() - plain.amin()))
    assert f"{told.mean():.1f} dB in the mean" in text and f"{told.min():.1f} dB at worst, of 4." in text
    assert f"{reports[0].flops_speedup:.2f}x fewer FLOPs" in text
    for seed in (100, 101):
        unseen.sample(model, seed=seed, **sampled)
    speed = sum(report.plain_flops for report in reports[1:]) / sum(report.flops for report in reports[1:])
    assert speed == pytest.approx(1.7, rel=0.1)
