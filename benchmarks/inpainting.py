"""Inpainting with the demo model: caching whole steps against computing the masked tokens at every step.

    python run.py inpainting [--count 64] [--steps 30] [--side 24] [--json FILE]

Pictures are sampled plainly; then a square in the middle of each, about 14% of it, is drawn anew as another class. What counts is
the square: its PSNR to the uncached inpainting, at the same seeds. The settings take turns batch by batch, so that a machine that
slows down slows all of them; a speed-up is the median over the batches. All settings measure the error inside the mask.
"""

import argparse
import json
import platform
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools"))
import torch  # noqa: E402
from pack import ROOT, load_host, pack_module  # noqa: E402

load_host(cpu=not torch.cuda.is_available())
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

import comfy.sample  # noqa: E402

SIZE, BATCH, CLASSES, CFG = 64, 4, 16, 3.0
WHOLE, MASKED = (0.1, 0.2, 0.3, 0.4, 0.6), (0.2, 0.4)
dit_loader, seam = pack_module("nodes.models.dit_loader"), pack_module("nodes.patching.seam")


def settings() -> dict:
    """What skips the blocks, how many tokens around the mask are computed with it, and the tolerance -> the settings."""
    whole = {f"whole steps, {tolerance:g}": {"token_mask": False, "tolerance": tolerance} for tolerance in WHOLE}
    masked = {f"mask + {dilation}, {tolerance:g}": {"token_mask": True, "mask_dilation": dilation, "tolerance": tolerance}
              for dilation in (0, 1, 2) for tolerance in MASKED}
    return whole | masked


def cached(plain, changes: dict, reports: list):
    make, config = pack_module("nodes.patching.settings").Settings, pack_module("toca_core.config").ToCaConfig
    return seam.install(plain, make("custom", config(level="stack", **changes)), reports.append)


def square(side: int):
    mask = torch.zeros(1, SIZE, SIZE)
    edge = (SIZE - side) // 2
    mask[:, edge:edge + side, edge:edge + side] = 1
    return mask


def sample(model, first: int, steps: int, latent=None, mask=None):
    """Pictures first..first + 3, seeds and classes by their number -> (pictures, seconds)."""
    again = latent is not None
    latent = latent if again else torch.zeros(BATCH, 3, SIZE, SIZE)
    noise = torch.cat([comfy.sample.prepare_noise(latent[:1], 100 + 1000 * again + first + index) for index in range(BATCH)])
    labels = [(first + 5 * index + 7 * again) % CLASSES for index in range(BATCH)]
    began = time.perf_counter()
    with torch.inference_mode():
        pictures = comfy.sample.sample(model, noise, steps, CFG, "euler", "simple", dit_loader.conditioning(labels),
                                       dit_loader.conditioning([CLASSES]), latent, disable_pbar=True, seed=first, noise_mask=mask)
    return pictures.float().cpu().clamp(-1, 1), time.perf_counter() - began


def measure(count: int, steps: int, side: int) -> dict:
    plain, mask, chosen = dit_loader.load_dit(str(ROOT / "demo/shapes_dit.safetensors")), square(side), settings()
    reports, psnr, speedups = ({name: [] for name in chosen} for _ in range(3))
    models = {name: cached(plain, changes, reports[name]) for name, changes in chosen.items()}
    for first in range(0, count, BATCH):
        base, _ = sample(plain, first, steps)
        reference, plain_seconds = sample(plain, first, steps, base, mask)
        for name, model in models.items():
            pictures, seconds = sample(model, first, steps, base, mask)
            error = (pictures - reference).square()[..., mask[0] > 0].flatten(1).mean(1)
            psnr[name] += (10 * torch.log10(4 / error)).tolist()
            speedups[name].append(plain_seconds / seconds)
    runs = {name: summary(psnr[name], speedups[name], reports[name]) for name in chosen}
    return {"count": -(-count // BATCH) * BATCH, "steps": steps, "side": side, "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "machine": torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or platform.machine(),
            "runs": runs}


def summary(psnr: list, speedups: list, reports: list) -> dict:
    return {"psnr": statistics.mean(psnr), "worst": statistics.mean(sorted(psnr)[:max(1, round(len(psnr) * 0.05))]),
            "speedup": statistics.median(speedups),
            "flops_speedup": sum(report.plain_flops for report in reports) / sum(report.flops for report in reports),
            "full_steps": statistics.mean(report.calls("full") for report in reports)}


def show(report: dict):
    table = Table(title=f"{report['count']} pictures, a square of {report['side']} of {SIZE} pixels, {report['steps']} euler steps, "
                        f"{report['threads']} threads")
    for column in ("run", "full steps", "speed-up", "FLOPs speed-up", "PSNR in the mask", "worst 5%"):
        table.add_column(column, justify="left" if column == "run" else "right")
    for name, run in report["runs"].items():
        table.add_row(name, f"{run['full_steps']:.1f}", f"{run['speedup']:.2f}x", f"{run['flops_speedup']:.2f}x", f"{run['psnr']:.1f} dB",
                      f"{run['worst']:.1f} dB")
    Console().print(table)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="run.py inpainting", description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=64, help="pictures, a multiple of 4 (default 64)")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--side", type=int, default=24, help="of the square, in pixels")
    parser.add_argument("--json", help="also write the figures here")
    given = parser.parse_args()
    report = measure(given.count, given.steps, given.side)
    show(report)
    if given.json:
        Path(given.json).write_text(json.dumps(report, indent=2), encoding="utf-8")
