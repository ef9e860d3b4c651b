"""Wall-clock against counted FLOPs at the true widths of the paper's systems, with random weights in bf16.

    python run.py widths [--systems pixart open_sora flux] [--depth N] [--steps N] [--repeats 3] [--threads N] [--json FILE]

PixArt-XL/2 at 1024 tokens, Open-Sora's STDiT3 at 16 latent frames of 240p, FLUX.1-dev at 1024 picture tokens. Few blocks
unless --depth says otherwise (FLUX: two single blocks to a double one), so that a CPU gets through; the published settings
are stretched over that depth. Plain and cached runs take turns in one process and the figures are medians; FLOPs are the pack's
own count, which the tests hold against `torch.utils.flop_counter`. On a GPU (found by itself) --depth 28, FLUX 19, is the
full size, and peak memory is shown as well. On a CPU the C library is told to keep freed memory, for both kinds of run: else
the kernel takes it back and hands it out anew, page by page, as often as chance has it, which blurs either time by a third.
"""

import argparse
import ctypes
import platform
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent))
import torch  # noqa: E402

from tools.pack import load_host, pack_module  # noqa: E402

GPU = torch.cuda.is_available()
load_host(cpu=not GPU)
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

import comfy.sample  # noqa: E402

from benchmarks.true_models import MODELS, build  # noqa: E402

FLUX_SHAPE = (1, 16, 64, 64)                                        # 512 x 512, so that a CPU gets through
SYSTEMS = {"pixart": 8, "open_sora": 2, "flux": 2}                  # and how many blocks by default


def keep_freed_memory():
    """As PyTorch's own allocator does on a GPU; only glibc can be told."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:
        trim_threshold, mmap_threshold = -1, -3                     # names of malloc.h
        mallopt(mmap_threshold, 1 << 25)
        mallopt(trim_threshold, -1)


def measure(system, depth, steps, repeats):
    torch.manual_seed(0)
    sized = MODELS[system]
    model, (positive, negative) = build(sized, depth), sized.conditioning()
    shape = FLUX_SHAPE if system == "flux" else sized.shape
    steps, settings = steps or sized.steps, pack_module("nodes.host.settings").Settings
    noise, reports = torch.randn(shape), []
    published = replace(pack_module("nodes.systems").SYSTEMS[system].paper(steps), layer_divisor=None)
    cached = pack_module("nodes.host.seam").install(model, settings("custom", published), reports.append)

    def sample(chosen, steps):
        torch.cuda.reset_peak_memory_stats() if GPU else None
        began = time.perf_counter()
        with torch.inference_mode():
            comfy.sample.sample(chosen, noise, steps, sized.cfg, "euler", "simple", positive, negative, torch.zeros(shape),
                                disable_pbar=True, seed=0)
        return time.perf_counter() - began, torch.cuda.max_memory_allocated() if GPU else 0

    for chosen in (model, cached):
        sample(chosen, 2)                                           # the warm-up
    runs = [(sample(model, steps), sample(cached, steps)) for _ in range(repeats)]
    speedup, report = statistics.median(plain[0] / fast[0] for plain, fast in runs), reports[-1]
    return {"system": system, "depth": depth, "steps": steps, "plain_seconds": statistics.median(plain[0] for plain, _ in runs),
            "cached_seconds": statistics.median(fast[0] for _, fast in runs), "speedup": speedup, "flops_speedup": report.flops_speedup,
            "wall_over_flops": speedup / report.flops_speedup, "cache_bytes": report.cache_bytes, "peak_bytes": [run[1] for run in runs[0]]}


def show(report):
    table = Table(title=f"published settings, bf16, random weights, medians of {report['repeats']}, {report['machine']}")
    for column in ("system", "blocks", "steps", "plain s", "cached s", "speed-up", "FLOPs speed-up", "wall / FLOPs", "cache MiB",
                   "peak MiB"):
        table.add_column(column, justify="right")
    for run in report["runs"]:
        peak = " -> ".join(f"{size / 2 ** 20:.0f}" for size in run["peak_bytes"]) if GPU else "-"
        table.add_row(run["system"], str(run["depth"]), str(run["steps"]), f"{run['plain_seconds']:.2f}", f"{run['cached_seconds']:.2f}",
                      f"{run['speedup']:.2f}x", f"{run['flops_speedup']:.2f}x", f"{run['wall_over_flops']:.2f}",
                      f"{run['cache_bytes'] / 2 ** 20:.0f}", peak)
    Console(width=140).print(table)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="run.py widths", description=__doc__.split("\n")[0])
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument("--depth", type=int, help="blocks (FLUX: double blocks); default: " +
                        ", ".join(f"{name} {depth}" for name, depth in SYSTEMS.items()))
    parser.add_argument("--steps", type=int, help="sampling steps; default: 20, 30 and 28")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path, help="also write the figures here")
    given = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(given.threads)
    report = {"torch": torch.__version__, "threads": given.threads, "repeats": given.repeats,
              "machine": torch.cuda.get_device_name() if GPU else f"CPU ({platform.machine()}), {given.threads} threads",
              "runs": [measure(system, given.depth or SYSTEMS[system], given.steps, given.repeats) for system in given.systems]}
    show(report)
    if given.json:
        given.json.write_text(pack_module("toca_core.finite").dumps(report, indent=2), encoding="utf-8")
