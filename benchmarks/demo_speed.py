"""Wall-clock against counted FLOPs on the demo model: plain, ToCa as published, and auto, side by side in one process.

    python run.py bench [--repeats 5] [--batch 4] [--steps 50] [--json FILE]

The runs take turns, so that a machine that slows down slows all of them; the figures are medians. FLOPs are counted by
`torch.utils.flop_counter` in a run of their own, scoring included.
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
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

import comfy.sample  # noqa: E402

dit_loader, seam = pack_module("nodes.models.dit_loader"), pack_module("nodes.patching.seam")


def models():
    """name -> MODEL, all around the same weights."""
    plain = dit_loader.load_dit(str(ROOT / "demo/shapes_dit.safetensors"))
    settings, config = pack_module("nodes.patching.settings").Settings, pack_module("toca_core.config").ToCaConfig()
    return {"plain": plain, **{preset: seam.install(plain, settings(preset, config), lambda report: None) for preset in ("paper", "auto")}}


def sample(model, batch: int, steps: int):
    """One run of the host's euler sampler with guidance, seed fixed -> (latent, seconds)."""
    latent = torch.zeros(batch, 3, 64, 64)
    noise = comfy.sample.prepare_noise(latent, 0)
    positive, negative = dit_loader.conditioning(list(range(0, 16, 5))), dit_loader.conditioning([16])
    began = time.perf_counter()
    with torch.inference_mode():
        result = comfy.sample.sample(model, noise, steps, 2.0, "euler", "normal", positive, negative, latent, disable_pbar=True, seed=0)
    return result, time.perf_counter() - began


def measure(repeats: int, batch: int, steps: int) -> dict:
    chosen, results, seconds = models(), {}, {}
    for name, model in chosen.items():
        with FlopCounterMode(display=False) as counter:             # also the warm-up
            picture, _ = sample(model, batch, steps)
        results[name] = {"flops": counter.get_total_flops(), "picture": picture.clamp(-1, 1)}
    for _ in range(repeats):
        for name, model in chosen.items():
            seconds.setdefault(name, []).append(sample(model, batch, steps)[1])
    plain = results["plain"]["picture"]
    for name, result in results.items():
        error = (result.pop("picture") - plain).square().flatten(1).mean(1)
        result |= {"seconds": statistics.median(seconds[name]),
                   "speedup": statistics.median(a / b for a, b in zip(seconds["plain"], seconds[name], strict=True)),
                   "flops_speedup": results["plain"]["flops"] / result["flops"],
                   "psnr": None if name == "plain" else (10 * torch.log10(4 / error)).mean().item()}
        result["wall_over_flops"] = result["speedup"] / result["flops_speedup"]
    return {"repeats": repeats, "batch": batch, "steps": steps, "torch": torch.__version__, "threads": torch.get_num_threads(),
            "machine": torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or platform.machine(),
            "runs": results}


def show(report: dict):
    table = Table(title=f"{report['steps']} euler steps, batch {report['batch']}, medians of {report['repeats']}, "
                        f"{report['threads']} threads")
    for column in ("run", "seconds", "speed-up", "TFLOPs", "FLOPs speed-up", "wall / FLOPs", "PSNR to plain"):
        table.add_column(column, justify="left" if column == "run" else "right")
    for name, run in report["runs"].items():
        psnr = "" if run["psnr"] is None else f"{run['psnr']:.1f} dB"
        table.add_row(name, f"{run['seconds']:.2f}", f"{run['speedup']:.2f}x", f"{run['flops'] / 1e12:.3f}", f"{run['flops_speedup']:.2f}x",
                      f"{run['wall_over_flops']:.2f}", psnr)
    Console().print(table)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="run.py bench", description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--json", help="also write the figures here")
    given = parser.parse_args()
    report = measure(given.repeats, given.batch, given.steps)
    show(report)
    if given.json:
        Path(given.json).write_text(json.dumps(report, indent=2), encoding="utf-8")
