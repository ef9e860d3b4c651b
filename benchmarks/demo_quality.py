"""What caching gains and what it costs, on the demo model, beside everything else that makes sampling faster.

    python run.py bench [--quick] [--json FILE] [--out DIR] [--steps 20 30 50] [--sampler euler] [--pictures 64] [--batch 4]
                        [--guidance 3.0] [--only NAME ...] [--model scenes] [--truth] [--rivals [CALLS ...]] [--ablation] [--saved FILE ...]
                        [--against FILE]

Plain sampling with a number of steps is the reference: same seeds, same noise. Against it stand the same sampler with fewer
steps, second-order solvers with fewer steps, the host's EasyCache and LazyCache, ToCa as published, with random tokens and
with none, and ours. --rivals adds other published caches, each with the settings that do best on other pictures, and --ablation
ours with one thing changed at a time. --only leaves what it names by kind, run or setting.

Seconds are medians; every run is timed, and plain runs take turns with the others, so that a machine that slows down slows both.
FLOPs are counted by `torch.utils.flop_counter` on one batch. bench.md with tables and curves goes to DIR.
"""

import argparse
import datetime
import json
import math
import os
import platform
import sys
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT))

import torch
from tqdm import tqdm

from benchmarks import drawing, figures, measuring, tables
from benchmarks.ablation import ablations
from benchmarks.rivals import tuning
from benchmarks.variants import SCHEDULER, SECOND_TRUTH, TRUTH, Variant, all_variants
from demo.subjects import SUBJECTS
from toca_core.finite import finite

SPEEDS = (2.0, 2.5, 3.0)
MAIN, RIVALS, ABLATION = ("solver", "cache", "ours", "refined"), ("rival", "ours"), ("ours", "ablation")
EQUAL = {"equal_time": "At equal wall-clock time", "equal_flops": "At equal FLOPs"}
QUICK_PICTURES, QUICK_STEPS = 8, [30]
INTRODUCTION = """# The bundled model {model}, cached and otherwise made faster

{machine}; threads: {threads}; torch {torch}, ComfyUI {host}; {date}. Written by `python run.py bench`.

Every run is compared with the plain run of the same seeds: PSNR in dB, its mean over the pictures and that of the worst 5%; SSIM;
and how many pictures show the shapes and the colours that were asked for (*right*). Speed-up is of wall-clock time, the median of runs
that took turns. *Model calls* are the evaluations' worth of attention that was computed / the evaluations that the sampler asked for,
means over the batches; FLOPs were counted on one batch and carried over to that mean. At equal speed-up, curves are read between their
points; a dash is a speed that one did not reach.
"""


def compare(model, work, batches, steps: int, given, truths: dict | None) -> dict:
    """One reference: every variant against the plain run of so many steps; truths: as `measuring.Comparison` has them."""
    variants = chosen(model, work, steps, given)
    comparison = measuring.Comparison(model, work, given.sampler, steps, variants, given.guidance, truths)
    with tqdm(total=comparison.runs(len(batches)), desc=f"{given.sampler} {steps}", unit="run") as bar:
        comparison.count_flops(batches[0], bar.update)
        for batch in batches:
            comparison.add(batch, bar.update)
    rows = comparison.rows()
    return {"steps": steps, "rows": rows, "agreement": comparison.agreement, "equal_time": figures.leads(rows, SPEEDS),
            "equal_flops": figures.leads(rows, SPEEDS, "flops_speedup")}


def chosen(model, work, steps: int, given) -> list[Variant]:
    """What was asked for; rivals are tried on other pictures first."""
    subject = SUBJECTS[given.model]
    variants = all_variants(given.sampler, steps, given.quick, subject.paper)
    if given.ablation:
        variants += ablations(given.sampler, steps, subject.paper)
    variants = [variant for variant in variants if wanted(f"{variant.kind} {variant.family} {variant.setting}", given.only)]
    if given.rivals is not None:
        methods = [method for method in tuning.METHODS if wanted(f"rival {method}", given.only)]
        trial = tuning.Trial(model, work, subject, given.sampler, steps, given.batch, given.guidance)
        calls = given.rivals or (tuning.CALLS[::2] if given.quick else tuning.CALLS)
        variants += tuning.rivals(trial, methods, calls, partial(tqdm, desc="rivals' settings", unit="setting"))
    return variants


def wanted(words: str, only: list[str]) -> bool:
    return not only or any(name in words for name in only)


def measure(given) -> dict:
    pictures, steps = (QUICK_PICTURES, QUICK_STEPS) if given.quick else (given.pictures, given.steps)
    subject = SUBJECTS[given.model]
    batches = measuring.make_batches(pictures, given.batch, subject)
    truths = {} if given.truth else None
    with measuring.counted(subject.load(), subject) as (model, work):
        references = [compare(model, work, batches, count, given, truths) for count in steps]
    return {**surroundings(), "model": subject.file.stem, "sampler": given.sampler, "scheduler": SCHEDULER,
            "guidance": given.guidance, "pictures": pictures, "batch": given.batch, "references": references}


def together(files: list[Path]) -> dict:
    """One report of several. Raises ValueError where they are of different plain runs."""
    reports = [read(json.loads(file.read_text(encoding="utf-8"))) for file in files]
    first = reports[0]
    for file, report in zip(files, reports, strict=True):
        same_runs(first, report, file)
    merged = {}
    for reference in (reference for report in reports for reference in report["references"]):
        into = merged.setdefault(reference["steps"], {"steps": reference["steps"], "rows": [], "agreement": []})
        known = {(row["family"], row["setting"]) for row in into["rows"]}
        into["rows"] += [row for row in reference["rows"] if (row["family"], row["setting"]) not in known]
        into["agreement"] = into["agreement"] or reference["agreement"]
    for into in merged.values():
        into.update(equal_time=figures.leads(into["rows"], SPEEDS), equal_flops=figures.leads(into["rows"], SPEEDS, "flops_speedup"))
    machines = "; ".join(dict.fromkeys(report["machine"] for report in reports))
    return {**first, "machine": machines, "references": list(merged.values())}


def same_runs(first: dict, report: dict, file: Path) -> dict:
    """-> the report of `file`, if its plain runs are those of the first. Raises ValueError."""
    for name in ("model", "sampler", "scheduler", "guidance", "pictures", "batch"):
        if report[name] != first[name]:
            raise ValueError(f"{file} has {name} {report[name]}, and the other {first[name]}: give files of the same runs.")
    return report


def read(report: dict) -> dict:
    """A report as it was before `finite`: identical pictures have an infinite PSNR. The first reports were of one model."""
    report.setdefault("model", SUBJECTS["shapes"].file.stem)
    for row in (row for reference in report["references"] for row in reference["rows"]):
        row.update({name: math.inf for name in ("psnr_mean", "psnr_worst") if row[name] is None})
    return report


def surroundings() -> dict:
    import comfyui_version
    cpu = f"{platform.processor() or platform.machine()}, {torch.backends.cpu.get_cpu_capability()}, {os.cpu_count()} cores"
    return {"machine": torch.cuda.get_device_name() if torch.cuda.is_available() else cpu, "torch": torch.__version__,
            "host": comfyui_version.__version__, "threads": torch.get_num_threads(), "date": datetime.date.today().isoformat()}


def title_of(report: dict, reference: dict) -> str:
    return (f"{reference['steps']} {report['sampler']} steps, {report['pictures']} pictures in batches of {report['batch']}, "
            f"guidance {report['guidance']:g}, threads: {report['threads']}")


def show(report: dict):
    for reference in report["references"]:
        tables.show(tables.measured(reference["rows"]), title_of(report, reference))
        for key, title in EQUAL.items():
            tables.show(tables.at_equal_speed(reference[key]), f"{title}, PSNR in dB")


def show_beside(report: dict, earlier: dict):
    """What changed since an earlier report of the same runs."""
    known = {reference["steps"]: reference["rows"] for reference in earlier["references"]}
    for reference in report["references"]:
        lines = tables.beside(reference["rows"], known.get(reference["steps"], []))
        tables.show(lines, f"Against the report of {earlier['date']}; {title_of(report, reference)}")


def save(report: dict, out: Path):
    """Curves as PNG, and bench.md, which shows them beside both tables."""
    out.mkdir(parents=True, exist_ok=True)
    text = [INTRODUCTION.format(**report)]
    for reference in report["references"]:
        title, name = title_of(report, reference), f"{report['sampler']}_{reference['steps']}"
        drawing.draw(reference["rows"], MAIN, title, out / f"{name}.png")
        text += [f"\n## {title}\n\n![PSNR over speed-up]({name}.png)\n\n"]
        if reference["agreement"]:
            drawing.draw(reference["rows"], MAIN, f"To the truth; {title}", out / f"{name}_truth.png", drawing.TRUTH)
            text += [f"![PSNR to the truth over speed-up]({name}_truth.png)\n\n"]
        if any(row["kind"] == "rival" for row in reference["rows"]):
            drawing.draw(reference["rows"], RIVALS, f"Ours beside published rules; {title}", out / f"{name}_rivals.png")
            text += [f"![PSNR over speed-up, ours beside published rules]({name}_rivals.png)\n\n"]
        if any(row["kind"] == "ablation" for row in reference["rows"]):
            drawing.draw(reference["rows"], ABLATION, f"Ours, one thing changed; {title}", out / f"{name}_ablation.png")
            text += [f"![PSNR over speed-up, ours with one thing changed]({name}_ablation.png)\n\n"]
        text += [f"{words}:\n\n{tables.markdown(tables.at_equal_speed(reference[key]))}\n" for key, words in EQUAL.items()]
        text += [tables.markdown(tables.measured(reference["rows"]))]
        if reference["agreement"]:
            text += [f"\nThe truth is {TRUTH.setting} of {TRUTH.sampler}; those of {SECOND_TRUTH.sampler} agree with it to "
                     f"{min(reference['agreement']):.1f} to {max(reference['agreement']):.1f} dB on the first pictures.\n"]
    (out / "bench.md").write_text("".join(text), encoding="utf-8")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="run.py bench", description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_PICTURES} pictures, {QUICK_STEPS[0]} steps, few points of each curve")
    parser.add_argument("--json", type=Path, help="also write every figure here")
    parser.add_argument("--out", type=Path, default=ROOT / "output" / "bench", help="where tables and curves go (default output/bench)")
    parser.add_argument("--steps", type=int, nargs="+", default=[20, 30, 50], help="steps of the plain runs to compare with")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME",
                        help="only what contains one of these in kind, run and setting; kinds: solver, cache, rival, ours, refined, "
                             "ablation")
    parser.add_argument("--rivals", type=int, nargs="*", metavar="CALLS",
                        help="also published caches of others, written anew, with their best settings at these numbers of calls (default "
                             f"{' '.join(map(str, tuning.CALLS))})")
    parser.add_argument("--ablation", action="store_true", help="also ours with one thing changed at a time")
    parser.add_argument("--sampler", default="euler", help="of the plain run and of all that cache (default euler)")
    parser.add_argument("--pictures", type=int, default=64, help="number of pictures (default 64)")
    parser.add_argument("--batch", type=int, default=4, help="pictures at a time (default 4)")
    parser.add_argument("--truth", action="store_true", help=f"also the distance to {TRUTH.setting} of {TRUTH.sampler}, and how far that "
                                                             f"of {SECOND_TRUTH.sampler} is from it on the first pictures")
    parser.add_argument("--guidance", type=float, default=3.0, help="default 3.0")
    parser.add_argument("--saved", type=Path, nargs="+", metavar="FILE", help="measure nothing: the tables and curves of these --json "
                                                                              "files, put together where they are of the same plain run")
    parser.add_argument("--against", type=Path, metavar="FILE", help="also the difference of each picture to an earlier --json file of the "
                                                                     "same plain run")
    parser.add_argument("--model", choices=SUBJECTS, default="shapes", help="which of the demo's models (default shapes)")
    return parser.parse_args()


def main():
    given = arguments()
    report = together(given.saved) if given.saved else measure(given)
    show(report)
    if given.against:
        show_beside(report, same_runs(report, read(json.loads(given.against.read_text(encoding="utf-8"))), given.against))
    if given.json:
        given.json.write_text(json.dumps(finite(report), indent=2, allow_nan=False) + "\n", encoding="utf-8")
    save(report, given.out)
    print(f"Tables and curves are in {given.out / 'bench.md'}")


if __name__ == "__main__":
    main()
