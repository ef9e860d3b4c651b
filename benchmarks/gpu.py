"""What caching gives on this machine's device: true sizes, random weights; time, peak memory, calls, waits for the device.

    python run.py gpu [--systems flux wan qwen_image] [--weights bf16 fp8] [--modes NAME ...] [--repeats 3] [--steps N] [--depth N]
                      [--pixels N] [--compile] [--profile] [--small] [--json FILE]

Every mode takes turns with the plain run of the same seed in one process; seconds are medians, after a warm-up. `speed` counts calls, so
that nothing depends on what random weights know; EasyCache's threshold is searched for until it takes as many calls. *Apart* is how far
the latent ends from the plain run's, in percent of it: with random weights it says that nothing broke, not what a picture looks like.
*Waits* is how often a run waits for the device beyond the plain run, *busy* (--profile) the share of its time in which the device
computes. On a CPU, or with --small, the models are a few blocks on few tokens.
"""

import argparse
import datetime
import json
import statistics
import sys
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT))

import torch
from rich.console import Console
from rich.table import Table

from benchmarks import true_models
from tools.pack import load_host, pack_module

GPU = torch.cuda.is_available()
load_host(cpu=not GPU)
from comfy_extras.nodes_easycache import EasyCacheNode

import comfy.sample

from benchmarks.compiling import compiled, stacks

config, presets, seam, settings, systems, finite, token_mask = (pack_module(name) for name in (
    "toca_core.config", "toca_core.presets", "nodes.host.seam", "nodes.host.settings", "nodes.systems", "toca_core.finite",
    "nodes.toca_token_mask"))
SPEEDS = (2, 3)
STEPS = {"wan": 12}                     # of long ones fewer, so that a table takes minutes
SMALL = {"flux": ((1, 16, 16, 16), 1), "wan": ((1, 16, 3, 8, 8), 3), "qwen_image": ((1, 16, 1, 16, 16), 3)}      # shape, blocks
SMALL_HEADS = 2
CELL = 8                                # pixels to a side of a latent's cell
WEIGHTS = {"bf16": torch.bfloat16, "fp8": torch.float8_e4m3fn}
TOLD = 12                               # kernels that take longest
TRIES = 7                               # of a threshold for EasyCache
# of a row -> how it is shown
COLUMNS = {"system": "{}", "weights": "{}", "mode": "{}", "calls": "{:.0f}", "seconds": "{:.2f}", "speedup": "{:.2f}x",
           "flops_speedup": "{:.2f}x", "wall_over_flops": "{:.2f}", "busy": "{:.2f}", "peak_mib": "{:.0f}", "apart": "{:.2f}%",
           "waits": "{}"}


@dataclass
class Mode:
    """One way to run; `prepare` puts it on a MODEL. `reports` are those of its runs, where it is ours."""
    name: str
    prepare: object
    reports: list = field(default_factory=list)


def ours(name: str, preset: str, **custom) -> Mode:
    reports = []
    chosen = settings.Settings(preset, config.ToCaConfig(**custom))
    return Mode(name, lambda model: seam.install(model, chosen, reports.append), reports)


def masked(mode: Mode) -> Mode:
    """The same with ToCa Token Mask on the middle quarter of the picture."""
    mask = torch.zeros(1, 64, 64)
    mask[:, 16:48, 16:48] = 1
    return Mode(mode.name + ", masked quarter", lambda model: token_mask.ToCaTokenMask.execute(mode.prepare(model), mask).args[0],
                mode.reports)


def modes_of(system: str, steps: int) -> list[Mode]:
    stack = presets.auto(steps, "stack")
    kept = {name: getattr(stack, name) for name in ("level", "trust", "max_gap")}
    modes = [ours(f"auto, speed {speed}", "auto", speed=speed) for speed in SPEEDS]
    modes += [ours(f"level stack, speed {speed}", "custom", speed=speed, **kept) for speed in SPEEDS]
    modes += [ours("level stack, speed 3, cache in RAM", "custom", speed=3, cache_device="cpu", **kept)]
    modes += [masked(ours("level stack, speed 3", "custom", speed=3, **kept))]
    if systems.SYSTEMS[system].paper is not None:
        modes.insert(0, ours("paper", "paper"))
    return modes


class Bench:
    """One model, one noise, many ways to run."""

    def __init__(self, system: str, weights: str, given):
        sized, small = true_models.MODELS[system], given.small or not GPU
        shape, depth = SMALL[system] if small else (sized.shape, given.depth or sized.depth)
        if given.pixels:
            shape = (*shape[:-2], given.pixels // CELL, given.pixels // CELL)
        torch.manual_seed(0)
        self.system, self.weights, self.sized = system, weights, sized
        self.steps = given.steps or STEPS.get(system, sized.steps)
        self.repeats = given.repeats
        self.model = true_models.build(sized, depth, WEIGHTS[weights], **({"heads": SMALL_HEADS} if small else {}))
        self.noise, (self.positive, self.negative) = torch.randn(shape), sized.conditioning()
        self.calls = 0
        self.rows: list[dict] = []
        self.measured: list[tuple] = []                             # row, MODEL

    def sample(self, model, steps: int | None = None):
        """-> (latent, seconds, peak bytes beside the weights)."""
        self.calls = 0
        if GPU:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            held = torch.cuda.memory_allocated()
        began = time.perf_counter()
        with torch.inference_mode():
            latent = comfy.sample.sample(model, self.noise, steps or self.steps, self.sized.cfg, "euler", "simple", self.positive,
                                         self.negative, torch.zeros_like(self.noise), disable_pbar=True, seed=0)
        if GPU:
            torch.cuda.synchronize()
        seconds = time.perf_counter() - began
        return latent.float().cpu(), seconds, torch.cuda.max_memory_allocated() - held if GPU else 0

    def waits(self, model) -> int:
        """How often a run waits for the device."""
        if not GPU:
            return 0
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                self.sample(model)
            finally:
                torch.cuda.set_sync_debug_mode("default")
        return sum("synchroniz" in str(warning.message) for warning in caught)

    def profile(self):
        """Adds to every row how long the device computed in its run, as a share of its seconds, and on what."""
        for row, model in self.measured:
            with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiled:
                self.sample(model)
            kernels = sorted(profiled.key_averages(), key=lambda event: -event.self_device_time_total)
            row["busy"] = sum(event.self_device_time_total for event in kernels) / 1e6 / row["seconds"]
            row["kernels"] = [{"name": event.key, "count": event.count, "ms": event.self_device_time_total / 1e3}
                              for event in kernels[:TOLD]]

    def count(self, *_):
        self.calls += 1

    def run(self, modes: list[Mode], plain=None, label: str = ""):
        """Every mode beside the plain run; a mode that fails is a row that says so."""
        plain = plain or self.model
        hook = None if label else stacks(self.model)[0][1][0].register_forward_pre_hook(self.count)
        self.sample(plain, 2)
        reference, first, _ = self.sample(plain)
        whole, waited = self.calls, self.waits(plain)
        again, _, peak = self.sample(plain)
        self.note("plain" + label, calls=whole, seconds=first, peak=peak, apart=apart(again, reference), waits=0, speedup=1.0)
        self.measured.append((self.rows[-1], plain))
        for mode in modes:
            try:
                self.measure(mode, plain, reference, whole, waited, label)
            except Exception as error:
                self.rows.append({"system": self.system, "weights": self.weights, "mode": mode.name + label, "failed": repr(error)[:400]})
                Console(stderr=True).print_exception(max_frames=12)
        latent = self.sample(plain)[0]
        self.rows[-1]["plain_unchanged"] = bool(torch.equal(latent, reference))
        if hook:
            hook.remove()

    def measure(self, mode: Mode, plain, reference, whole: int, waited: int, label: str):
        model = mode.prepare(plain)
        latent = self.sample(model)[0]                              # the warm-up
        ratios, seconds = [], []
        for _ in range(self.repeats):
            beside = self.sample(plain)[1]
            _, took, peak = self.sample(model)
            ratios.append(beside / took)
            seconds.append(took)
        report = mode.reports[-1] if mode.reports else None
        calls = report.calls("full") + report.calls("plain") if report else self.calls
        flops = report.flops_speedup if report else whole / max(calls, 1)
        speedup = statistics.median(ratios)
        self.note(mode.name + label, calls=calls, seconds=statistics.median(seconds), peak=peak, speedup=speedup, flops_speedup=flops,
                  wall_over_flops=speedup / flops, apart=apart(latent, reference), waits=self.waits(model) - waited,
                  cache_mib=report.cache_bytes / 2 ** 20 if report else None,
                  predicted_mib=report.predicted_cache_bytes / 2 ** 20 if report else None, note=report.note if report else "")
        self.measured.append((self.rows[-1], model))

    def note(self, mode: str, peak: int, **figures):
        self.rows.append({"system": self.system, "weights": self.weights, "mode": mode, "steps": self.steps, "peak_mib": peak / 2 ** 20,
                          **figures})
        print(json.dumps(finite.finite(self.rows[-1])), flush=True)

    def easycache(self, calls: int) -> Mode:
        """With the threshold at which it takes as many calls, or nearly."""
        low, high = 1e-4, 100.0
        hook = stacks(self.model)[0][1][0].register_forward_pre_hook(self.count)
        for _ in range(TRIES):
            threshold = (low * high) ** 0.5
            self.sample(EasyCacheNode.execute(self.model, threshold, 0.0, 1.0, False).args[0])
            if self.calls == calls:
                break
            low, high = (threshold, high) if self.calls > calls else (low, threshold)
        hook.remove()
        return Mode(f"EasyCache {threshold:.2g}", lambda model: EasyCacheNode.execute(model, threshold, 0.0, 1.0, False).args[0])


def apart(latent, reference) -> float:
    return 100 * ((latent - reference).norm() / reference.norm()).item()


def wanted(name: str, only: list[str]) -> bool:
    return not only or name in only


def measure(given) -> list[dict]:
    rows = []
    for system in given.systems:
        for weights in given.weights:
            if weights == "fp8" and system != "flux":
                continue
            bench = Bench(system, weights, given)
            modes = [mode for mode in modes_of(system, bench.steps) if wanted(mode.name, given.modes)]
            if system == "flux" and weights == "bf16" and wanted("EasyCache", given.modes):
                modes += [bench.easycache(-(-bench.steps // speed)) for speed in SPEEDS]
            bench.run(modes)
            if given.compile and system == "flux" and weights == "bf16":
                chosen = [mode for mode in modes if mode.name in ("auto, speed 3", "level stack, speed 3", "paper")]
                bench.run(chosen, compiled(bench.model, backend="inductor"), ", blocks compiled")
            if given.profile:
                bench.profile()
            rows += bench.rows
            del bench, modes
            torch.cuda.empty_cache() if GPU else None
    return rows


def show(rows: list[dict], machine: str):
    table = Table(title=f"random weights, {machine}")
    for column in COLUMNS:
        table.add_column(column.replace("_", " "), justify="right")
    for row in rows:
        if "failed" in row:
            table.add_row(row["system"], row["weights"], row["mode"], row["failed"])
        else:
            table.add_row(*(form.format(row[name]) if row.get(name) is not None else "-" for name, form in COLUMNS.items()))
    Console(width=170).print(table)


def main():
    parser = argparse.ArgumentParser(prog="run.py gpu", description=__doc__.split("\n")[0])
    parser.add_argument("--systems", nargs="+", choices=SMALL, default=list(SMALL))
    parser.add_argument("--weights", nargs="+", choices=WEIGHTS, default=list(WEIGHTS), help="fp8: of FLUX alone")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, help="sampling steps; default: 28, 12 and 20")
    parser.add_argument("--modes", nargs="+", default=[], metavar="NAME", help="only these rows, such as paper or 'auto, speed 3'")
    parser.add_argument("--depth", type=int, help="blocks (FLUX: double ones, and two single ones to each); default: all of the model")
    parser.add_argument("--pixels", type=int, help="side of the picture, in place of 1024")
    parser.add_argument("--compile", action="store_true", help="FLUX with its blocks compiled too")
    parser.add_argument("--profile", action="store_true", help="also how long the device computes, and on what; every kernel starts more "
                                                               "slowly after it, so for one system and one kind of weights at a time")
    parser.add_argument("--small", action="store_true", help="a few blocks on few tokens, as on a CPU")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    given = parser.parse_args()
    if given.profile and not GPU:
        parser.error("--profile looks at the kernels of a graphics card, and there is none")
    if given.profile and (len(given.systems) > 1 or len(given.weights) > 1):
        parser.error("--profile slows what is timed after it: give one of --systems and one of --weights")
    machine = (f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}" if GPU else "CPU, small models")
    rows = measure(given)
    show(rows, machine)
    if given.json:
        report = {"machine": machine, "torch": torch.__version__, "date": datetime.date.today().isoformat(), "rows": rows}
        given.json.write_text(finite.dumps(report, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
