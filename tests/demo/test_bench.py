"""The quality bench's measuring, on a few pictures and steps."""

import json
import math

import pytest
import torch
from PIL import Image

from benchmarks import demo_quality, figures, measuring, variants
from demo.subjects import SHAPES

STEPS = 6


@pytest.fixture(scope="module")
def report():
    """Plain, half the steps, EasyCache and published ToCa: 3 pictures in batches of 2."""
    chosen = [variants.Variant("solver", "euler, fewer steps", f"{steps} steps", "euler", steps) for steps in (3, 4)]
    chosen += [variant for variant in variants.host_caches("euler", STEPS) if variant.setting == "threshold 1"]
    chosen += [variant for variant in variants.as_published("euler", STEPS) if variant.setting == "N = 3"]
    chosen += [variant for variant in variants.own_variants("euler", STEPS) if variant.setting in ("tolerance 1.2", "cycle 2")]
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
    every = variants.all_variants("dpmpp_2m", 30, quick=False)
    names = {(variant.family, variant.setting) for variant in every}
    assert len(names) == len(every) and {variant.kind for variant in every} >= {"solver", "cache", "ours", "ablation"}
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
    with pytest.raises(ValueError, match="1.json has model scenes_flux, and .*0.json shapes_dit"):
        demo_quality.together(files)


def test_the_truth_is_computed_once_for_all_references(monkeypatch):
    asked = []
    monkeypatch.setattr(measuring, "sample", lambda model, variant, batch, cfg: (asked.append(variant), (torch.zeros(2, 3, 8, 8), 1.0))[1])
    [batch], truths = measuring.make_batches(2, 2), {}
    for steps in (2, 3):
        measuring.Comparison(None, None, "euler", steps, [], 3.0, truths).converged(batch, truths)
    assert asked == [variants.TRUTH, variants.SECOND_TRUTH]
