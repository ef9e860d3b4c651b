"""Which models can be cached, at which levels, and whether it is right: a matrix over tiny models of the host's own classes.

    python run.py models [--json FILE] [--only NAME ...] [--jobs 2] [--page] [--host VERSION]

Every model of `tools/zoo` is sampled plainly and at each level that it offers. What must hold:

    identity     a tolerance of 0, and at level module a fresh_ratio of 1 and a cycle of 1, give the plain run's result bit for bit;
                 with `enable` off the model passes through
    variations   so do batches, odd sizes, no guidance, texts of two lengths, a reference picture
    flops        at level module what a run says it computed is what torch counts, within 2%, with either score, in all these variations
    faster       with a large tolerance, or by a fixed cycle, steps are skipped, and the result is finite
    repeats      a second run gives the same
    clean        afterwards the model's modules, hooks and options are as before, and the plain run gives what it gave
"""

import argparse
import logging
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT))

FAST, EXACT = 20.0, 0.0         # tolerances, in percent
EVERY = {"warmup_steps": 100, "score": "random"}                # at level module: every step is full, and every module's output is kept
PARTIAL = {"cycle": 3, "fresh_ratio": 0.3}
MISCOUNT = 0.02
CYCLE = 3                       # for models whose predictions, of random weights, change too wildly from step to step to skip any by error
STEPS, FEW = 8, 4
VARIATIONS = {"batch": {"batch": 2}, "odd": {"odd": True}, "no guidance": {"cfg": 1.0}, "texts": {"texts": (9, 5)},
              "reference": {"reference": True}}


@dataclass
class LevelRow:
    """What a level did on one model: `pattern` has a letter for each evaluation, f(ull), p(artial) or plain (-)."""
    level: str
    pattern: str = ""
    flops_speedup: float = 1.0
    wrong: list[str] = field(default_factory=list)
    note: str = ""


@dataclass
class ModelRow:
    """whole: the level nearest to the blocks at which whole steps are forecast. levels: of each that the model offers. absent: why it
    could not be built here."""
    name: str
    of: str
    system: str = ""
    whole: str = ""
    levels: list[LevelRow] = field(default_factory=list)
    tried: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    absent: str = ""

    @property
    def right(self) -> bool:
        return not self.absent and not self.wrong and not any(level.wrong for level in self.levels)


class Checked:
    """One tiny model and what is asked of it."""

    def __init__(self, builder):
        from tools.pack import pack_module
        self.pack = {name: pack_module(path) for name, path in (
            ("seam", "nodes.host.seam"), ("settings", "nodes.host.settings"), ("config", "toca_core.config"), ("systems", "nodes.systems"),
            ("node", "nodes.toca_cache"),
            ("sizes", "nodes.systems.sizes"), ("module", "toca_core.calls.module"))}
        self.tiny = builder.make()
        self.row = ModelRow(builder.name, builder.of)

    def cached(self, preset: str = "custom", tolerance: float | None = None, **changes):
        """-> (a MODEL with ToCa, the list its reports go to)."""
        reports = []
        config = self.pack["config"].ToCaConfig(tolerance=tolerance if preset == "custom" else None, **changes)
        settings = self.pack["settings"].Settings(preset, config, tolerance=tolerance)
        return self.pack["seam"].install(self.tiny.model, settings, reports.append), reports

    def check(self) -> ModelRow:
        system = self.pack["systems"].system_of(self.tiny.diffusion_model)
        bound, misfit = self.pack["systems"].bound_of(self.tiny.diffusion_model)
        self.row.system = system.name if system else ""
        if misfit:
            self.row.wrong.append(misfit)
        plain, few = self.tiny.sample(steps=STEPS), self.tiny.sample(steps=FEW)
        before = snapshot(self.tiny.model)                          # after the host has loaded it
        levels = self.pack["settings"].levels_of(system, bound)
        if system is None or not system.plain:
            self.row.levels = [self.level(level, few) for level in levels]
        self.row.whole = next((level for level in ("stack", "output") if level in [row.level for row in self.row.levels]), "plain")
        self.auto()
        if snapshot(self.tiny.model) != before or not same(self.tiny.sample(steps=STEPS), plain):
            self.row.wrong.append("clean")
        for name, given in VARIATIONS.items():
            self.variation(name, dict(given))
        return self.row

    def level(self, level: str, plain) -> LevelRow:
        row = LevelRow(level)
        score = {"score": self.scores()[0]} if level == "module" else {}
        exact = [{"fresh_ratio": 1.0, **score}, {"cycle": 1, **score}, EVERY] if level == "module" else [{"tolerance": EXACT}, {"cycle": 1}]
        for settings in exact:
            if not same(self.tiny.sample(self.cached(level=level, **settings)[0], steps=FEW), plain):
                row.wrong.append(f"identity {settings}")
        for fast in [{**PARTIAL, "score": "random"}] if level == "module" else [{"tolerance": FAST}, {"cycle": CYCLE}]:
            model, reports = self.cached(level=level, **fast)
            first = self.tiny.sample(model, steps=STEPS)
            if reports[0].calls("partial"):
                break
        second, report = self.tiny.sample(model, steps=STEPS), reports[0]
        row.pattern, row.flops_speedup, row.note = pattern(report), report.flops_speedup, report.note
        if not report.calls("partial") or report.settings["level"] != level:
            row.wrong.append("faster")
        if not first.isfinite().all():
            row.wrong.append("finite")
        if not same(first, second):
            row.wrong.append("repeats")
        if level == "module":
            row.wrong += [f"score {score}: {wrong}" for score in self.scores() for wrong in self.modules({"score": score})]
        return row

    def scores(self) -> tuple[str, ...]:
        """Those that the model gives, or else random ones."""
        return self.pack["systems"].bound_of(self.tiny.diffusion_model)[0].layout.scores or ("random",)

    def modules(self, settings: dict, **given):
        """What is wrong with a run at level module in which some steps are partial."""
        from torch.utils.flop_counter import FlopCounterMode
        model, reports = self.cached(level="module", **PARTIAL, **settings)
        with FlopCounterMode(display=False) as counter:
            result = self.tiny.sample(model, steps=FEW, **given)
        if not result.isfinite().all():
            yield "finite"
        counted = counter.get_total_flops()
        if not reports[0].calls("partial") or abs(reports[0].flops / counted - 1) > MISCOUNT:
            yield f"flops {reports[0].flops / counted:.3f}"

    def auto(self):
        """Preset auto, and the node itself, off."""
        model, reports = self.cached("auto", FAST)
        self.tiny.sample(model, steps=STEPS)
        hopeless = min(reports[0].errors, default=0.0) > FAST       # random weights may change from step to step beyond any forecast
        if reports[0].settings["level"] != "output" or bool(reports[0].calls("partial")) != bool(self.row.levels) and not hopeless:
            self.row.wrong.append("auto")
        if self.pack["node"].ToCaCache.execute(self.tiny.model, False, "auto").args[0] is not self.tiny.model:
            self.row.wrong.append("enable off")

    def variation(self, name: str, given: dict):
        if given.pop("odd", False):
            if self.tiny.odd is None:
                return
            given["shape"] = self.tiny.odd
        if name == "reference" and not self.tiny.reference or name == "batch" and not self.tiny.batches:
            return
        self.row.tried.append(name)
        try:
            level, plain = "output" if self.row.whole == "plain" else self.row.whole, self.tiny.sample(steps=FEW, **given)
            if not same(self.tiny.sample(self.cached(tolerance=EXACT, level=level)[0], steps=FEW, **given), plain):
                self.row.wrong.append(f"{name}: identity")
            if not self.tiny.sample(self.cached(tolerance=FAST, level=level)[0], steps=STEPS, **given).isfinite().all():
                self.row.wrong.append(f"{name}: finite")
            if any(row.level == "module" for row in self.row.levels):
                if not same(self.tiny.sample(self.cached(level="module", **EVERY)[0], steps=FEW, **given), plain):
                    self.row.wrong.append(f"{name}: identity, module")
                self.row.wrong += [f"{name}: {wrong}" for wrong in self.modules({"score": self.scores()[0]}, **given)]
        except Exception as error:                                  # one model's failure is a row, and the others go on
            self.row.wrong.append(f"{name}: {failure(error)}")


def same(one, other) -> bool:
    import torch
    return torch.equal(one, other)


def pattern(report) -> str:
    return "".join({"full": "f", "partial": "p"}.get(step.kind, "-") for step in report.steps)


def failure(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}"


def snapshot(model):
    """What a run must leave as it was: the modules' own attributes and hooks, and the options of the MODEL."""
    modules = [(name, sorted(module.__dict__), len(module._forward_hooks), len(module._forward_pre_hooks))
               for name, module in model.model.diffusion_model.named_modules()]
    options = {key: sorted(map(str, value)) if isinstance(value, dict) else str(value) for key, value in model.model_options.items()}
    return modules, options


def check(name: str) -> ModelRow:
    """One row, in a process of its own kind (`started`)."""
    from tools.zoo import builders
    from tools.zoo.building import NotInThisHost
    builder = builders()[name]
    try:
        return Checked(builder).check()
    except NotInThisHost as error:
        return ModelRow(name, builder.of, absent=f"not in this host: {error}")
    except Exception as error:
        return ModelRow(name, builder.of, wrong=[failure(error)])


def started():
    """Before the first row in a process: the host is loaded, on one thread."""
    import torch

    from tools.pack import load_host
    load_host(cpu=not torch.cuda.is_available())
    torch.set_num_threads(1)
    logging.getLogger().setLevel(logging.ERROR)


def rows_of(names: list[str], jobs: int) -> list[ModelRow]:
    if jobs == 1:
        return [check(name) for name in names]
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), started) as pool:
        return list(pool.map(check, names))


def counts(rows: list[ModelRow]) -> dict:
    """What the documents tell: models and classes in all, and by the level at which whole steps are forecast."""
    here = [row for row in rows if not row.absent]
    by_level = {level: sorted({row.of for row in here if row.right and row.whole == level}) for level in ("stack", "output", "plain")}
    return {"models": len(here), "right": sum(row.right for row in here), "absent": len(rows) - len(here),
            "classes": len({row.of for row in here}), **{level: len(names) for level, names in by_level.items()}}


def show(rows: list[ModelRow]):
    from rich.console import Console
    from rich.table import Table
    table = Table(title="Tiny models of the host's classes, sampled plainly and at each level")
    for column in ("model", "class", "system", "whole steps", "level: steps, FLOPs", "also tried", "wrong"):
        table.add_column(column, overflow="fold")
    for row in rows:
        levels = "\n".join(f"{level.level}: {level.pattern} {level.flops_speedup:.2f}x" for level in row.levels)
        wrong = [*row.wrong, *(f"{level.level}: {', '.join(level.wrong)}" for level in row.levels if level.wrong)]
        kind, told = row.of.rpartition(".")[2], row.absent or "\n".join(wrong)
        table.add_row(row.name, kind, row.system, row.whole, levels, ", ".join(row.tried), told)
    console = Console(width=None if sys.stdout.isatty() else 180)
    console.print(table)
    console.print("; ".join(f"{name} {count}" for name, count in counts(rows).items()))


def main() -> int:
    parser = argparse.ArgumentParser(prog="run.py models", description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="only models whose name contains one of these")
    parser.add_argument("--json", type=Path, help="also write every row here")
    parser.add_argument("--page", action="store_true", help="also write docs/models.md")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default 2)")
    given = parser.parse_args()
    if given.page and given.only:
        parser.error("--page writes the table of all models, so it does not go with --only")
    started()
    from tools.zoo import builders
    names = [name for name in builders() if not given.only or any(word in name for word in given.only)]
    rows = rows_of(names, given.jobs)
    show(rows)
    if given.json:
        told = {"counts": counts(rows), "models": [asdict(row) for row in rows]}
        from toca_core.finite import dumps
        given.json.write_text(dumps(told, indent=1) + "\n", encoding="utf-8")
    if given.page:
        from comfyui_version import __version__ as host

        from tools import models_page
        path = ROOT / "docs" / "models.md"
        before = path.read_text(encoding="utf-8") if path.is_file() else ""
        path.write_text(models_page.page(before, {host: rows}), encoding="utf-8")
    return 0 if all(row.right or row.absent for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
