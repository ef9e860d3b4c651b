"""How many dB are in the places of the computed steps? Those that are planned, beside places found by outcome on other pictures.

    python run.py places [--model shapes scenes] [--calls 8 10 12 15] [--pictures 32] [--steps 30] [--json FILE] [--out DIR]

With `calls`, the node places the computed steps beforehand, by how errors grow with distance and what they count at a share of noise,
without knowing the model. Here each of them is moved by one step where the likeness of a few pictures gains by it, until no move helps
or SWEEPS have passed. Both are then tried on pictures of other seeds: what a table of a model's errors, learned beforehand, could gain.
"""

import itertools
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT))

import torch
from tqdm import tqdm

from benchmarks import ablation, demo_quality, figures, measuring, pages
from benchmarks.variants import OUTPUT, plain
from demo.subjects import SUBJECTS, Subject
from toca_core import quality
from tools.pack import load_host, pack_module

load_host(cpu=not torch.cuda.is_available())
presets = pack_module("toca_core.presets")
GUIDANCE, BATCH, LEARNED, SWEEPS = 3.0, 8, 8, 3                     # pictures that the places are found on
CALLS = (8, 10, 12, 15)
Places = tuple[int, ...]


def at_places(places: Places, run):
    """These steps are computed, and no others."""
    run.level.errors.placed = lambda moment, left: moment.step.index in places


class Placed:
    """One model and its runs of so many steps."""

    def __init__(self, subject: Subject, steps: int):
        self.subject, self.model, self.steps = subject, subject.load(), steps
        self.auto = replace(presets.auto(steps, base=subject.paper(steps)), **OUTPUT)

    def reference(self, batch):
        return measuring.sample(self.model, plain("euler", self.steps), batch, GUIDANCE)[0]

    def run(self, batch, calls: int, places: Places | None = None):
        """Pictures with places of our own, or with those that are planned."""
        change = partial(at_places, places) if places else None
        model = ablation.changed(replace(self.auto, calls=calls), change)(self.model)
        return measuring.sample(model, plain("euler", self.steps), batch, GUIDANCE)[0]

    def planned(self, batch, calls: int) -> Places:
        found = []

        def listen(run):
            placed = run.level.errors.placed
            run.level.errors.placed = lambda moment, left: found.append((moment.step.index, placed(moment, left))) or found[-1][1]
        measuring.sample(ablation.changed(replace(self.auto, calls=calls), listen)(self.model), plain("euler", self.steps), batch, GUIDANCE)
        return tuple(sorted({index for index, full in found if full}))

    def found(self, batch, reference, start: Places, done=lambda: None) -> Places:
        """Places from which no move of one of them by one step gains on these pictures."""
        def likeness(places: Places) -> float:
            done()
            return figures.mean_and_worst(quality.psnr(self.run(batch, len(places), places), reference).tolist())[0]

        best, reached = start, likeness(start)
        tried = {start}
        for _ in range(SWEEPS):
            before = best
            for place, by in itertools.product(range(1, len(start)), (-1, 1)):      # the first step is always computed
                moved = tuple(sorted({*best[:place], best[place] + by, *best[place + 1:]}))
                if len(moved) < len(best) or not 0 < moved[-1] < self.steps or moved in tried:
                    continue
                tried.add(moved)
                gained = likeness(moved)
                if gained > reached:
                    best, reached = moved, gained
            if best == before:
                break
        return best


def measure(subject: Subject, numbers, pictures: int, steps: int) -> list[dict]:
    placed, rows = Placed(subject, steps), []
    first, *others = measuring.make_batches(LEARNED + pictures, BATCH, subject)
    reference = placed.reference(first)
    references = [placed.reference(batch) for batch in others]
    for calls in numbers:
        start = placed.planned(first, calls)
        with tqdm(desc=f"{subject.name}, {calls} calls", unit="run") as bar:
            chosen = {"planned": start, "found by outcome": placed.found(first, reference, start, bar.update)}
        likeness = {name: [value for batch, plain_ones in zip(others, references, strict=True)
                           for value in quality.psnr(placed.run(batch, calls, places), plain_ones).tolist()]
                    for name, places in chosen.items()}
        for name, places in chosen.items():
            mean, worst = figures.mean_and_worst(likeness[name])
            gained, error = figures.difference(likeness[name], likeness["planned"])
            rows.append({"model": subject.file.stem, "calls": calls, "name": name, "places": places, "mean": mean, "worst": worst,
                         "gained": gained, "error": error})
    return rows


def lines(rows: list[dict]) -> list[list[str]]:
    found = [["model", "calls", "places", "PSNR: mean / worst 5%", "gained", "+-", "steps computed"]]
    for row in rows:
        gained = ["", ""] if row["name"] == "planned" else [f"{row['gained']:+.1f}", f"{row['error']:.1f}"]
        found.append([row["model"], str(row["calls"]), row["name"], f"{row['mean']:.1f} / {row['worst']:.1f}", *gained,
                      ", ".join(map(str, row["places"]))])
    return found


def save(report: dict, out: Path):
    title, _, what = __doc__.strip().split("\n\n")
    measured = (f"{LEARNED} pictures to find places by, {report['pictures']} others to try them on, {report['steps']} euler steps, level "
                f"output, guidance {GUIDANCE:g}")
    what = " ".join(what.replace("SWEEPS", f"{SWEEPS} rounds").split())
    pages.write(out, "places", report, f"# {title}\n\n{what}", measured, lines(report["rows"]))


def main():
    parser = pages.parser_of("places", __doc__)
    parser.add_argument("--model", choices=SUBJECTS, nargs="+", default=list(SUBJECTS), help="of the demo (default all)")
    parser.add_argument("--calls", type=int, nargs="+", default=CALLS, help=f"default {', '.join(map(str, CALLS))}")
    parser.add_argument("--pictures", type=int, default=32, help=f"to try places on, in batches of {BATCH} (default 32)")
    parser.add_argument("--steps", type=int, default=30)
    given = parser.parse_args()
    rows = [row for name in given.model for row in measure(SUBJECTS[name], given.calls, given.pictures, given.steps)]
    report = {**demo_quality.surroundings(), "pictures": given.pictures, "steps": given.steps, "rows": rows}
    pages.deliver(given, "places", report, save, lines(rows), f"{given.pictures} pictures, {given.steps} euler steps")


if __name__ == "__main__":
    main()
