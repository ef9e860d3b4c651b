"""Inpainting with the demo model: computing the masked tokens at every step, beside caching whole steps.

    python run.py inpainting [--count 64] [--steps 30] [--side 24] [--json FILE] [--out DIR]

Pictures are sampled plainly; then a square in the middle of each, about 14% of it, is drawn anew as another class. What counts is
the square: its PSNR to the uncached inpainting, at the same seeds. The settings take turns batch by batch, so that a machine that
slows down slows all of them; a speed-up is the median over the batches. Ours measure the error inside the mask, but for those that
are not told of it and treat the whole picture alike. inpainting.md with tables and curves goes to DIR.
"""

import statistics
import sys
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT))

import torch

from tools.pack import load_host

load_host(cpu=not torch.cuda.is_available())
import comfy.sample

from benchmarks import drawing, figures, measuring, pages, tables
from benchmarks.demo_quality import surroundings
from benchmarks.variants import host_caches, presets, published, seam, settings
from demo import shapes
from demo.subjects import SHAPES
from toca_core import quality

BATCH, CFG, SCHEDULER = 4, 3.0, "simple"
PEAK = 2.0                          # of pictures in -1..1
WHOLE, UNKNOWN, MASKED, DILATIONS = (0.15, 0.25, 0.4, 0.6, 0.8, 1.0), (0.1, 0.2, 0.3, 0.4, 0.6), (0.25, 0.5), (0, 1, 2)
BLIND = "mask unknown"
THRESHOLDS = tuple(f"threshold {value:g}" for value in (0.05, 0.1, 0.2))
SPEEDS = (1.75, 2.0, 2.25, 2.5)
GROUPS = {"EasyCache": "EasyCache", "whole steps, " + BLIND: BLIND, "whole steps": "whole", "masked tokens at every step": "mask +"}
COLUMNS = {name: tables.COLUMNS[name]
           for name in ("run", "setting", "speed-up", "FLOPs\nspeed-up", "wall /\nFLOPs", "PSNR\nmean", "worst\n5%")}
INTRODUCTION = """# Inpainting with the bundled model

{machine}; threads: {threads}; torch {torch}, ComfyUI {host}; {date}. Written by `python run.py inpainting`.

A square of {side} x {side} of the {size} x {size} pixels is drawn anew as another class: {count} pictures in batches of {batch},
{steps} euler steps. PSNR is that of the square to the uncached inpainting, in dB. *whole steps* are those of `auto`, with the error
measured inside the mask; *mask unknown* is `auto` not told of the mask; *mask + n* also computes the tokens of the mask, and n around
it, at every step. Speed-up is of wall-clock time.

![PSNR over speed-up](inpainting.png)

"""


def candidates(steps: int) -> dict:
    """(kind, family, setting) -> (what puts it on a MODEL, the list of its runs' reports)."""
    found = {("cache", variant.family, variant.setting): (variant.prepare, []) for variant in host_caches("euler", steps)
             if variant.family == "EasyCache" and variant.setting in THRESHOLDS}
    for kind, family, tolerances in (("cache", BLIND, UNKNOWN), ("ours", "whole steps", WHOLE)):
        found |= {(kind, family, f"tolerance {value:g}"): ours(steps, token_mask=False, tolerance=value) for value in tolerances}
    return found | {("ablation", f"mask + {dilation}", f"tolerance {value:g}"):
                    ours(steps, token_mask=True, mask_dilation=dilation, tolerance=value) for dilation in DILATIONS for value in MASKED}


def ours(steps: int, **changes) -> tuple:
    config, reports = replace(presets.auto(steps, base=published.dit(steps)), **changes), []
    return (lambda model: seam.install(model, settings.Settings("custom", config), reports.append)), reports


def unaware():
    """While this lasts, our runs are not told of the noise mask."""
    return mock.patch.object(seam, "region_of", return_value=(None, False))


def square(side: int):
    mask = torch.zeros(1, shapes.SIZE, shapes.SIZE)
    edge = (shapes.SIZE - side) // 2
    mask[:, edge:edge + side, edge:edge + side] = 1
    return mask


def sample(model, first: int, steps: int, latent=None, mask=None):
    """Pictures first..first + 3, seeds and classes by their number -> (pictures, seconds)."""
    again = latent is not None
    latent, classes = latent if again else SHAPES.empty_latent(BATCH), len(shapes.CLASSES)
    noise = torch.cat([comfy.sample.prepare_noise(latent[:1], 100 + 1000 * again + first + index) for index in range(BATCH)])
    labels = [(first + 5 * index + 7 * again) % classes for index in range(BATCH)]
    began = time.perf_counter()
    with torch.inference_mode():
        pictures = comfy.sample.sample(model, noise, steps, CFG, "euler", SCHEDULER, SHAPES.conditioning(labels),
                                       SHAPES.conditioning([classes]), latent.clone(), disable_pbar=True, seed=first,
                                       noise_mask=mask)
    return pictures.float().cpu().clamp(-1, 1), time.perf_counter() - began


def measure(count: int, steps: int, side: int) -> dict:
    mask, chosen = square(side), candidates(steps)
    inside = mask[0] > 0
    psnr, speedups, work_shares = ({name: [] for name in chosen} for _ in range(3))
    with measuring.counted(SHAPES.load()) as (plain, work):
        models = {name: prepare(plain) for name, (prepare, _) in chosen.items()}
        for first in range(0, count, BATCH):
            base, _ = sample(plain, first, steps)
            work.tokens = 0
            reference, plain_seconds = sample(plain, first, steps, base, mask)
            whole = work.tokens
            for name, model in models.items():
                work.tokens = 0
                with unaware() if name[1] == BLIND else nullcontext():
                    pictures, seconds = sample(model, first, steps, base, mask)
                psnr[name] += quality.psnr(pictures[..., inside], reference[..., inside], PEAK).tolist()
                speedups[name].append(plain_seconds / seconds)
                work_shares[name].append(work.tokens / whole)
    rows = [row(name, psnr[name], speedups[name], flops_speedup(reports, work_shares[name])) for name, (_, reports) in chosen.items()]
    return {**surroundings(), "count": -(-count // BATCH) * BATCH, "batch": BATCH, "steps": steps, "side": side, "size": shapes.SIZE,
            "rows": rows}


def flops_speedup(reports: list, work_shares: list[float]) -> float:
    """As our report counts them; of the host's caches, which skip a call or do not, by the tokens that were computed."""
    if not reports:
        return 1 / statistics.mean(work_shares)
    return sum(report.plain_flops for report in reports) / sum(report.flops for report in reports)


def row(name: tuple, psnr: list[float], speedups: list[float], flops: float) -> dict:
    (kind, family, setting), (mean, worst), speedup = name, figures.mean_and_worst(psnr), statistics.median(speedups)
    return {"kind": kind, "family": family, "setting": setting, "speedup": speedup, "flops_speedup": flops,
            "wall_over_flops": speedup / flops, "psnr_mean": mean, "psnr_worst": worst}


def at_equal_speed(rows: list[dict], by: str) -> list[list[str]]:
    """Titles, then a line for each speed-up: the dB that each way of caching reaches there."""
    lines = [["speed-up", "figure", *GROUPS]]
    groups = [[row for row in rows if row["family"].startswith(family)] for family in GROUPS.values()]
    for speed in SPEEDS:
        for key, title in tables.FIGURES.items():
            best = [figures.best_at(group, group[0]["kind"], key, speed, by) for group in groups]
            lines.append([f"{speed:g}x", title, *(f"{one['psnr']:.1f} ({one['family']})" if one else "-" for one in best)])
    return lines


def save(report: dict, out: Path):
    """Curves as PNG, and inpainting.md, which shows them beside the tables."""
    out.mkdir(parents=True, exist_ok=True)
    title = f"Inpainting, {report['count']} pictures: inside the mask"
    drawing.draw(report["rows"], ("cache", "ours", "ablation"), title, out / "inpainting.png")
    text = INTRODUCTION.format(**report)
    for by, words in (("speedup", "wall-clock time"), ("flops_speedup", "FLOPs")):
        text += f"At equal {words}:\n\n{tables.markdown(at_equal_speed(report['rows'], by))}\n"
    (out / "inpainting.md").write_text(text + tables.markdown(tables.measured(report["rows"], COLUMNS)), encoding="utf-8")


def main():
    parser = pages.parser_of("inpainting", __doc__)
    parser.add_argument("--count", type=int, default=64, help="pictures, a multiple of 4 (default 64)")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--side", type=int, default=24, help="of the square, in pixels")
    given = parser.parse_args()
    report = measure(given.count, given.steps, given.side)
    pages.deliver(given, "inpainting", report, save, tables.measured(report["rows"], COLUMNS),
                  f"{report['count']} pictures, {report['steps']} euler steps, inside the mask")


if __name__ == "__main__":
    main()
