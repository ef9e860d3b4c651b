"""The quality bench's measuring, on a few pictures and steps."""

import json
import math
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from benchmarks import ablation, demo_quality, figures, measuring, variants
from demo.subjects import SHAPES
from tools.pack import pack_module

STEPS = 6


@pytest.fixture(scope="module")
def report():
    """Plain, half the steps, EasyCache and published ToCa: 3 pictures in batches of 2."""
    chosen = [variants.Variant("solver", "euler, fewer steps", f"{steps} steps", "euler", steps) for steps in (3, 4)]
    chosen += [variant for variant in variants.host_caches("euler", STEPS) if variant.setting == "threshold 1"]
    chosen += [variant for variant in variants.as_published("euler", STEPS) if variant.setting == "N = 3"]
    chosen += [variant for variant in variants.own_variants("euler", STEPS) if variant.setting == "tolerance 1.2"]
    chosen += [variant for variant in ablation.ablations("euler", STEPS) if variant.setting == "cycle 2"]
    batches = measuring.make_batches(3, 2)
    with measuring.counted(SHAPES.load()) as (model, work):
        comparison = measuring.Comparison(model, work, "euler", STEPS, chosen, cfg=3.0)
        comparison.count_flops(batches[0])
        for batch in batches:
            comparison.add(batch)
    rows = comparison.rows()
    equal = {"equal_time": figures.leads(rows, (2.0,)), "equal_flops": figures.leads(rows, (2.0,), "flops_speedup")}
    return {**demo_quality.surroundings(), "model": "shapes_dit", "sampler": "euler", "scheduler": variants.SCHEDULER, "guidance": 3.0,
            "pictures": 3, "batch": 2, "references": [{"steps": STEPS, "rows": rows, "agreement": [], **equal}]}


@pytest.fixture(scope="module")
def rows(report):
    return {(row["family"], row["setting"]): row for row in report["references"][0]["rows"]}


def test_plain_comes_out_identical(rows):
    plain = rows["plain", f"{STEPS} steps"]
    assert plain["psnr_mean"] == plain["psnr_worst"] == math.inf and plain["ssim"] == pytest.approx(1)
    assert plain["flops_speedup"] == 1 and plain["speedup"] == 1
    assert plain["model_calls"] == plain["evaluations"] == STEPS


def test_fewer_steps_come_out_near_and_cheaper(rows):
    half, more = rows["euler, fewer steps", "3 steps"], rows["euler, fewer steps", "4 steps"]
    assert 10 < half["psnr_worst"] <= half["psnr_mean"] < more["psnr_mean"] < 60 and half["ssim"] < more["ssim"] < 1
    assert half["flops_speedup"] == pytest.approx(2) and half["evaluations"] == 3 == pytest.approx(half["model_calls"])


def test_caches_are_asked_as_often_and_compute_less(rows):
    for family in variants.HOST_CACHES:
        cached = rows[family, "threshold 1"]
        assert cached["evaluations"] == STEPS > cached["model_calls"] >= 1
        assert cached["flops_speedup"] > 1 and 15 < cached["psnr_mean"] < 60
    for run in [(family, "N = 3") for family in variants.PUBLISHED] + [("ours", "tolerance 1.2"), ("fixed cycle", "cycle 2")]:
        cached = rows[run]
        assert cached["evaluations"] == STEPS > cached["model_calls"] >= 1 and 10 < cached["psnr_mean"] < 60
        assert 1 < cached["flops_speedup"] <= STEPS / cached["model_calls"]


def test_the_same_seed_gives_the_same_pictures_and_batches_differ():
    first, second = measuring.make_batches(5, 2)[:2]
    assert not torch.equal(first.noise, second.noise) and first.labels != second.labels
    assert torch.equal(first.noise, measuring.make_batches(2, 2)[0].noise)
    assert len({label for batch in measuring.make_batches(16, 4) for label in batch.labels}) == 16


def test_everything_is_written(report, tmp_path):
    demo_quality.save(report, tmp_path)
    assert Image.open(tmp_path / f"euler_{STEPS}.png").width > 1000
    text = (tmp_path / "bench.md").read_text(encoding="utf-8")
    assert "| plain | 6 steps |" in text and "identical" in text and "| 2x | PSNR mean |" in text and f"(euler_{STEPS}.png)" in text
    [reference] = json.loads(json.dumps(demo_quality.finite(report), allow_nan=False))["references"]
    assert reference["rows"][0]["psnr_mean"] is None and reference["rows"][1]["psnr_mean"] > 10


def test_the_variants_of_a_reference_are_its_own():
    every = [*variants.all_variants("dpmpp_2m", 30, quick=False), *ablation.ablations("dpmpp_2m", 30)]
    names = {(variant.family, variant.setting) for variant in every}
    assert len(names) == len(every) and {variant.kind for variant in every} == {"solver", "cache", "ours", "refined", "ablation"}
    assert all(variant.sampler == "dpmpp_2m" and variant.steps == 30 for variant in every if variant.kind != "solver")
    assert all(variant.steps <= 30 for variant in every if variant.kind == "solver")
    assert not any(variant.family.startswith("euler") for variant in every)
    assert sum("(auto)" in variant.setting for variant in every if variant.kind == "ours") == 1
    quick = variants.all_variants("dpmpp_2m", 30, quick=True)
    assert len(quick) < len(every) / 2 and {variant.kind for variant in quick} == {"solver", "cache", "ours", "refined"}


def test_saved_figures_of_the_same_run_go_on_one_page(report, tmp_path):
    """The plain run's row, which each of them has, comes once; other runs are refused by name."""
    from toca_core.finite import finite
    rows = report["references"][0]["rows"]
    files = []
    for index, chosen in enumerate((rows[:2], [rows[0], *rows[2:]])):
        files.append(tmp_path / f"{index}.json")
        files[-1].write_text(json.dumps(finite({**report, "references": [{**report["references"][0], "rows": chosen}]})))
    whole = demo_quality.together(files)["references"][0]
    assert [(row["family"], row["setting"]) for row in whole["rows"]] == [(row["family"], row["setting"]) for row in rows]
    assert whole["rows"][0]["psnr_mean"] == math.inf
    files[1].write_text(json.dumps(finite({**report, "model": "scenes_flux"})))
    with pytest.raises(ValueError, match="1.json has model scenes_flux, and the other shapes_dit"):
        demo_quality.together(files)


def test_the_truth_is_computed_once_for_all_references(monkeypatch):
    asked = []
    monkeypatch.setattr(measuring, "sample", lambda model, variant, batch, cfg: (asked.append(variant), (torch.zeros(2, 3, 8, 8), 1.0))[1])
    [batch], truths = measuring.make_batches(2, 2), {}
    for steps in (2, 3):
        measuring.Comparison(None, None, "euler", steps, [], 3.0, truths).converged(batch, truths)
    assert asked == [variants.TRUTH, variants.SECOND_TRUTH]


def test_only_names_kinds_runs_and_settings():
    words = "rival SpeCa order 1, threshold 0.1"
    assert all(demo_quality.wanted(words, only) for only in ([], ["rival"], ["SpeCa"], ["ours", "threshold 0.1"]))
    assert not demo_quality.wanted(words, ["ours", "cache"])


# ---- ablations ----

LOOSE = ablation.replace(ablation.presets.auto(12), tolerance=50.0, max_gap=12)         # skips whatever it may


def prepared(family, setting, sampler="euler"):
    [one] = [variant for variant in ablation.ablations(sampler, 30) if (variant.family, variant.setting) == (family, setting)]
    return one


@pytest.fixture(scope="module")
def sampled():
    """sampled(what is put on a MODEL, sampler) -> (the run's report, its pictures): two pictures in 12 steps."""
    [batch] = measuring.make_batches(2, 2)

    def sampled(prepare, sampler="euler"):
        model, reports = prepare(SHAPES.load()), []
        model.get_wrappers("outer_sample", "toca")[-1].__self__.on_report = reports.append
        pictures, _ = measuring.sample(model, variants.plain(sampler, 12), batch, 3.0)
        return reports[0], pictures
    return sampled


def test_a_smooth_fit_repeats_its_newest_anchor_and_follows_a_line():
    assert ablation.chebyshev_weights([3, 2, 1, 0], 3, 1) == pytest.approx([1, 0, 0, 0])
    weights = ablation.chebyshev_weights([3, 2, 1, 0], 4, 1)
    assert sum(weights) == pytest.approx(1)
    assert 3.5 < sum(weight * value for weight, value in zip(weights, [3, 2, 1, 0], strict=True)) < 4        # the ridge holds it back


def test_every_sampler_has_its_own_ablations():
    euler, other = ({variant.family for variant in ablation.ablations(sampler, 30)} for sampler in ("euler", "uni_pc"))
    assert {"no trust", "trust per element", "trust per channel", "no repayment", "output, no repayment", "output, refine 4",
            "output, last step as any other", "output, very last step full"} <= euler
    assert not any("refine" in family or "no repayment" in family for family in other)
    assert {"repayment as over euler", "output, repayment as over euler"} == other - euler


def test_the_last_step_is_full_as_an_ablation_says(sampled):
    """The last of 12 steps is from next to no noise; the one before it is the last that matters."""
    def last_two(family):
        return [step.kind for step in sampled(prepared(family, "tolerance 0.4").prepare)[0].steps[-2:]]
    assert last_two("output, forecast in sigma") == ["full", "partial"]
    assert last_two("output, very last step full") == ["full", "full"]
    loose = ablation.changed(ablation.replace(LOOSE, **variants.OUTPUT), ablation.last_as_any_other)
    assert [step.kind for step in sampled(loose)[0].steps[-2:]] == ["partial", "partial"]


def test_errors_to_come_by_the_newest_and_by_the_mean():
    config, schedule = ablation.presets.auto(30, "output"), ablation.schedule
    for change, expected in ((ablation.newest_error, [8.0, 2.0, 2.0]), (ablation.mean_of_errors, [8.0, 4.0, 32 ** (1 / 3)])):
        errors = pack_module("toca_core.error_cycle").ErrorCycle(config, schedule.Cycle(config))
        change(SimpleNamespace(level=SimpleNamespace(errors=errors)))
        assert [errors.to_come(newest) for newest in (8.0, 2.0, 2.0)] == pytest.approx(expected)


def test_trust_is_measured_over_other_axes():
    anchors = ablation.forecast.Anchors(order=1)
    features = torch.rand(3, 2, 5, 4, generator=torch.Generator().manual_seed(0))
    for time, feature in enumerate(features[:2]):
        anchors.add(float(time), feature)
    change, followed = features[1] - features[0], features[2] - features[1]
    for axes, expected in (((), followed / change), ((1,), (followed * change).sum(1, keepdim=True) / change.square().sum(1, keepdim=True)),
                           ((2,), (followed * change).sum(2, keepdim=True) / change.square().sum(2, keepdim=True))):
        anchors.trust = None
        ablation.learn(anchors, axes, features[2], 2.0)
        assert torch.allclose(anchors.trust, expected.clamp(*ablation.forecast.TRUST_RANGE).expand_as(change), atol=1e-5)
    by_token = anchors.trust[..., :1]
    anchors.trust = None
    anchors.learn(features[2], 2.0)
    assert torch.allclose(anchors.trust, by_token, atol=1e-5)       # over the channels it is the pack's own


def test_trust_and_repayment_change_the_run(sampled):
    ours = sampled(variants.toca(ablation.presets.auto(12)))[1]
    element, channel = (sampled(prepared(f"trust per {one}", "tolerance 0.2").prepare)[1] for one in ("element", "channel"))
    assert not torch.equal(ours, element) and not torch.equal(ours, channel) and not torch.equal(element, channel)
    for family in ("smooth fit", "forecast in sigma"):
        assert not torch.equal(ours, sampled(prepared(family, "tolerance 0.2").prepare)[1])
    for sampler, alike in (("euler", False), ("euler_ancestral", False), ("dpmpp_2m", True)):  # neither bent nor halved
        ours, straight = (sampled(ablation.changed(ablation.replace(LOOSE, **variants.OUTPUT), change), sampler)[1]
                          for change in (None, ablation.straight))
        assert torch.equal(ours, straight) == alike
    assert prepared("repayment as over euler", "tolerance 0.2", "uni_pc").prepare
    assert not torch.equal(*(sampled(ablation.changed(LOOSE, change), "uni_pc")[1] for change in (None, ablation.repaid)))
