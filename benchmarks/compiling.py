"""ToCa Cache beside torch.compile: what is compiled, how often, and whether the pictures are those of the run that is not compiled.

    python run.py compiling [--models dit flux flux_deep open_sora_deep wan_t2v] [--modes auto stack paper] [--json FILE]
    python run.py compiling --seconds ROUNDS [--json FILE]

Tiny models with random weights, the whole model or block by block, by the host's own helper and guard filter, before ToCa Cache and
after. The eager backend traces, guards and splits as inductor does and compiles in no time. *Graphs* and *breaks* are those of the first
run; *more* are graphs that the second and the third run still add; breaks are counted where they happen, each once.

With --seconds the demo's DiT is compiled by inductor, block by block, and run plain, compiled, cached, and both, in turns. What a run
does in that time, by torch's profiler, comes beside it: matrix products, which the same library computes either way; the host's other
operators; the kernels that inductor made in their place.
"""

import argparse
import json
import statistics
import sys
import time
from itertools import product
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT))

import torch
from rich.console import Console
from rich.table import Table

from tools.pack import load_host, pack_module

load_host(cpu=not torch.cuda.is_available())
from comfy_extras.nodes_torch_compile import skip_torch_compile_dict
from torch._dynamo.utils import counters

from comfy_api.torch_helpers import set_torch_compile_wrapper

from demo.subjects import SHAPES
from tools import zoo
from tools.zoo import building, flux
from tools.zoo.building import Tiny

config, seam, settings, stdit3, stdit3_loader = (pack_module(name) for name in (
    "toca_core.config", "nodes.host.seam", "nodes.host.settings", "nodes.models.stdit3", "nodes.models.stdit3_loader"))
MODES = {"auto": ("auto", {"speed": 2.0}), "stack": ("custom", {"level": "stack", "speed": 2.0}), "paper": ("paper", {})}
RUNS = 3


def demo() -> Tiny:
    """The bundled DiT, which is small enough."""
    conditioning, nothing = SHAPES.conditioning(SHAPES.ask(1)), SHAPES.conditioning([SHAPES.nothing])
    return Tiny(SHAPES.load(), lambda *_: (conditioning, nothing), (3, *SHAPES.size))


def deep() -> Tiny:
    """A tiny FLUX with more blocks of either kind than torch.compile makes graphs of one function."""
    blocks = torch._dynamo.config.recompile_limit + 1
    return flux.flux_like("Flux", guidance_embed=True, extra=dict(guidance=3.5), depth=blocks, depth_single_blocks=blocks)


def deep_video() -> Tiny:
    """Likewise an Open-Sora, of the pack's own class: as many blocks within frames as between them."""
    blocks = torch._dynamo.config.recompile_limit + 1
    shape = stdit3.STDiT3Shape(4, 8, (1, 2, 2), 64, blocks, 2, 128, 32, 7)
    return Tiny(building.of_config(stdit3_loader.STDiT3Config(shape)), building.texts(32), (4, 3, 8, 8))


MODELS = ["dit", "flux", "flux_deep", "open_sora_deep", "wan_t2v"]
MADE = {"dit": demo, "flux_deep": deep, "open_sora_deep": deep_video}


def stacks(model) -> list[tuple[str, torch.nn.ModuleList]]:
    """The lists of blocks of a diffusion model."""
    return [(name, part) for name, part in model.model.diffusion_model.named_children()
            if isinstance(part, torch.nn.ModuleList) and name.endswith("blocks")]


def compiled(model, whole: bool = False, backend: str = "eager"):
    """A MODEL with the host's wrapper for the whole diffusion model, or for each of its blocks."""
    model = model.clone()
    blocks = [f"diffusion_model.{name}.{index}" for name, stack in stacks(model) for index in range(len(stack))]
    set_torch_compile_wrapper(model, backend, options={"guard_filter_fn": skip_torch_compile_dict},
                              keys=["diffusion_model"] if whole else blocks)
    return model


def cached(model, mode: str):
    preset, custom = MODES[mode]
    reports = []
    return seam.install(model, settings.Settings(preset, config.ToCaConfig(**custom)), reports.append), reports


def measure(tiny, name: str, mode: str, whole: bool, first: bool) -> dict:
    """first: torch.compile comes before ToCa Cache."""
    model, expected = cached(tiny.model, mode)
    reference = tiny.sample(model)
    torch._dynamo.reset()
    counters.clear()
    if first:
        model, reports = cached(compiled(tiny.model, whole), mode)
    else:
        model, reports = cached(tiny.model, mode)
        model = compiled(model, whole)
    graphs, breaks = [], []
    for _ in range(RUNS):
        result = tiny.sample(model)
        graphs.append(counters["stats"]["unique_graphs"])
        breaks.append(sum(counters["graph_break"].values()))
    return {"model": name, "compiled": "whole" if whole else "blocks", "ToCa Cache": "after" if first else "before", "mode": mode,
            "graphs": graphs[0], "breaks": breaks[0], "more": f"{graphs[1] - graphs[0]}, {graphs[2] - graphs[1]}",
            "apart": (result - reference).abs().max().item(),
            "same steps": [step.kind for step in reports[-1].steps] == [step.kind for step in expected[0].steps]}


def counted(models, modes) -> list[dict]:
    rows = []
    for name in models:
        tiny = MADE[name]() if name in MADE else zoo.builders()[name].make()
        rows += [measure(tiny, name, *how) for how in product(modes, (True, False), (True, False))]
    return rows


def spent(sample) -> dict[str, float]:
    """Seconds that one run computes, by kind of operator. On a CPU."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiled:
        sample()
    kinds = dict.fromkeys(("products", "operators", "compiled kernels"), 0.0)
    for event in profiled.key_averages():
        kind = ("products" if event.key.endswith(("mm", "convolution")) else "operators" if event.key.startswith("aten::")
                else "compiled kernels" if "CompiledFxGraph" in event.key else None)
        if kind:
            kinds[kind] += event.self_cpu_time_total / 1e6
    return {kind: round(value, 2) for kind, value in kinds.items()}


def seconds(rounds: int, steps: int = 30, batch: int = 4) -> list[dict]:
    """Medians of runs that took turns, and of each round's speed-up over the plain run; the first, which compiles, does not count."""
    torch._dynamo.reset()
    tiny = demo()
    built = compiled(tiny.model, backend="inductor")
    models = {"plain": tiny.model, "compiled": built, "cached": cached(tiny.model, "auto")[0], "both": cached(built, "auto")[0]}
    taken = {name: [] for name in models}
    for _ in range(rounds + 1):
        for name, model in models.items():
            began = time.perf_counter()
            tiny.sample(model, steps, batch=batch)
            taken[name].append(time.perf_counter() - began)
    return [{"run": name, "first run": round(each[0], 1), "seconds": round(statistics.median(each[1:]), 3),
             "speed-up": round(statistics.median(plain / own for plain, own in zip(taken["plain"][1:], each[1:], strict=True)), 2),
             **spent(lambda model=models[name]: tiny.sample(model, steps, batch=batch))}
            for name, each in taken.items()]


def main():
    parser = argparse.ArgumentParser(prog="run.py compiling", description=__doc__.split("\n")[0])
    parser.add_argument("--models", nargs="+", choices=[*MADE, *zoo.builders()], default=MODELS)
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--seconds", type=int, metavar="ROUNDS", help="time the demo's DiT, compiled, cached and both, in so many rounds")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    given = parser.parse_args()
    rows = seconds(given.seconds) if given.seconds else counted(given.models, given.modes)
    table = Table(title="the demo's DiT, backend inductor" if given.seconds else "tiny models, backend eager")
    for column in rows[0]:
        table.add_column(column)
    for row in rows:
        table.add_row(*map(str, row.values()))
    Console(width=120).print(table)
    if given.json:
        given.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
