"""Shares of fresh tokens by measured sensitivity, at level module, beside the same share for every block, a slope, and chance.

    python run.py shares [--model shapes scenes] [--pictures 48] [--steps 20] [--cycles 3] [--json FILE] [--out DIR]

ToCa Calibrate's probes of a few pictures say how large an error each stale module of each block makes in the model's output. The shares
made of that are tried on other pictures, all for as many FLOPs:

    flat              the same share for every module and block
    slope             along the depth, as steep as the published settings of the model's family
    random            drawn for every block; the mean of three draws
    in proportion     to the error
    to its root       to the square root of the error
    least error       the sum of the squares of what the stale tokens err is least: as 1 - cost / error^2, cut at 0 and 1
"""

import random
import statistics
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT))

import torch
from tqdm import tqdm

from benchmarks import demo_quality, figures, measuring, pages
from benchmarks.variants import SCHEDULER, plain
from demo.subjects import SUBJECTS, Subject
from toca_core import quality
from tools.pack import load_host, pack_module

load_host(cpu=not torch.cuda.is_available())
import folder_paths

calibration, config, calibrating, schedule, seam, settings = (pack_module(name) for name in (
    "toca_core.calibration", "toca_core.config", "nodes.host.calibrating", "toca_core.schedule", "nodes.host.seam", "nodes.host.settings"))
GUIDANCE, BATCH, SEEN = 3.0, 8, 8                                   # pictures probed
MEAN_SHARES, CYCLES, DRAWS = (0.2, 0.4), (3,), 3
FLAT = "flat"
Errors = dict[str, list[float]]                                     # of each block of a module


def probed(subject: Subject, steps: int) -> tuple[Errors, dict[str, float]]:
    """-> (the error that each stale module makes, what one of it costs in FLOPs), of modules that have fresh tokens."""
    labels = subject.ask(SEEN)
    runs = calibrating.Calibration(calibrating.Sampling(
        subject.load(), subject.conditioning(labels), subject.conditioning([subject.nothing]), {"samples": subject.empty_latent(SEEN)},
        steps, GUIDANCE, "euler", SCHEDULER, 0), seeds=1, probe=True, vae=None)
    with torch.inference_mode():
        found = runs.sensitivity()
    partial = {site.name for site in runs.bound.depths if site.kind != "self_attn"}
    return {name: blocks for name, blocks in found.items() if name in partial}, runs.known["cost"]


def least_error(errors: Errors, cost: dict[str, float], mean: float) -> Errors:
    """Shares of which the squares of what stale tokens err, error^2 (1 - share)^2, add up to least at a mean share by cost."""
    def at(price: float) -> Errors:
        return {name: [min(1.0, max(0.0, 1 - price * cost[name] / max(error, 1e-12) ** 2)) for error in blocks]
                for name, blocks in errors.items()}

    def spent(shares: Errors) -> float:
        return sum(cost[name] * sum(blocks) for name, blocks in shares.items())

    wanted = mean * sum(cost[name] * len(blocks) for name, blocks in errors.items())
    low, high = 0.0, max(error ** 2 / cost[name] for name, blocks in errors.items() for error in blocks)
    for _ in range(100):
        price = (low + high) / 2
        low, high = (price, high) if spent(at(price)) > wanted else (low, price)
    return at(high)


def allotments(errors: Errors, cost: dict[str, float], mean: float, slope: float) -> dict[str, list[tuple]]:
    """Name -> what to try under it, as `ToCaConfig.block_ratios`."""
    def shared(weight) -> tuple:
        """In proportion to weight(error, block, depth)."""
        weights = {name: [weight(error, block, len(blocks)) for block, error in enumerate(blocks)] for name, blocks in errors.items()}
        return calibration.ratios_by_sensitivity(weights, cost, mean)

    numbers = random.Random(0)
    return {FLAT: [shared(lambda *_: 1.0)],
            "slope": [shared(lambda _, block, depth: max(0.0, schedule.layer_factor(slope, block, depth - 1)))],
            "random": [shared(lambda *_: numbers.random()) for _ in range(DRAWS)],
            "in proportion": [shared(lambda error, *_: error)],
            "to its root": [shared(lambda error, *_: error ** 0.5)],
            "least error": [tuple((name, tuple(round(share, 4) for share in blocks))
                                  for name, blocks in least_error(errors, cost, mean).items())]}


def measure(subject: Subject, pictures: int, steps: int, cycles) -> list[dict]:
    errors, cost = probed(subject, steps)
    paper, model, variant = subject.paper(steps), subject.load(), plain("euler", steps)
    tried = [(mean, cycle, name, ratios) for mean in MEAN_SHARES for cycle in cycles
             for name, of_name in allotments(errors, cost, mean, paper.layer_slope).items() for ratios in of_name]
    psnr, reports = {}, {}
    batches = measuring.make_batches(SEEN + pictures, BATCH, subject)[SEEN // BATCH:]       # seeds that were not probed either
    for batch in tqdm(batches, desc=subject.name):
        reference, _ = measuring.sample(model, variant, batch, GUIDANCE)
        for mean, cycle, name, ratios in tried:
            given = replace(paper, cycle_rule="fixed", cycle=cycle, layer_slope=0.0, step_slope=0.0, block_ratios=ratios)
            cached = seam.install(model, settings.Settings("custom", given), reports.setdefault((mean, cycle, name), []).append)
            result, _ = measuring.sample(cached, variant, batch, GUIDANCE)
            psnr.setdefault((mean, cycle, name), []).append(quality.psnr(result, reference).tolist())
    return [row(subject, *key, psnr[key], psnr[(*key[:2], FLAT)], reports[key], len(batches)) for key in psnr]


def row(subject: Subject, mean: float, cycle: int, name: str, runs: list, flat: list, reports: list, batches: int) -> dict:
    """runs, flat: PSNR of each run's pictures; of several draws the mean of each picture counts."""
    draws = len(runs) // batches
    values, others = ([statistics.mean(of_picture) for batch in range(batches)
                       for of_picture in zip(*each[batch * count:(batch + 1) * count], strict=True)]
                      for each, count in ((runs, draws), (flat, 1)))
    likeness, worst = figures.mean_and_worst(values)
    above, error = figures.difference(values, others)
    return {"model": subject.file.stem, "mean share": mean, "cycle": cycle, "shares": name,
            "flops_speedup": sum(report.plain_flops for report in reports) / sum(report.flops for report in reports),
            "mean": likeness, "worst": worst, "above": above, "error": error}


def lines(rows: list[dict]) -> list[list[str]]:
    found = [["model", "mean share", "cycle", "shares", "FLOPs speed-up", "PSNR: mean / worst 5%", "above flat", "+-"]]
    for one in rows:
        apart = ["", ""] if one["shares"] == FLAT else [f"{one['above']:+.2f}", f"{one['error']:.2f}"]
        found.append([one["model"], f"{one['mean share']:g}", str(one["cycle"]), one["shares"], f"{one['flops_speedup']:.2f}x",
                      f"{one['mean']:.1f} / {one['worst']:.1f}", *apart])
    return found


def save(report: dict, out: Path):
    title, _, what, kinds = __doc__.split("\n\n")
    listed = "\n".join(f"- *{line[4:21].strip()}*: {line[21:].strip()}" for line in kinds.strip("\n").splitlines())
    measured = f"{report['pictures']} pictures that were not probed, {report['steps']} euler steps, guidance {GUIDANCE:g}"
    pages.write(out, "shares", report, f"# {title.rstrip('.')}\n\n{' '.join(what.split())}\n\n{listed}", measured, lines(report["rows"]))


def main():
    parser = pages.parser_of("shares", __doc__)
    parser.add_argument("--model", choices=SUBJECTS, nargs="+", default=list(SUBJECTS), help="of the demo (default all)")
    parser.add_argument("--pictures", type=int, default=48, help=f"of each model, in batches of {BATCH} (default 48)")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--cycles", type=int, nargs="+", default=CYCLES, help="distances between full steps (default 3)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder_paths.set_user_directory(folder)                     # what was measured before is measured again
        rows = [row for name in given.model for row in measure(SUBJECTS[name], given.pictures, given.steps, given.cycles)]
    report = {**demo_quality.surroundings(), "pictures": given.pictures, "steps": given.steps, "rows": rows}
    pages.deliver(given, "shares", report, save, lines(rows), f"{given.pictures} pictures, {given.steps} euler steps")


if __name__ == "__main__":
    main()
