"""What computing single tokens between full steps could gain at best: their true residual is known and costs only their share of a step.

    python run.py oracles [--model shapes scenes] [--pictures 64] [--steps 30] [--json FILE] [--out DIR]

On the steps between full ones the residual of every token is forecast, along a line through the last two full steps in log-SNR; then those
of some tokens are replaced by the truth:

    none             whole steps alone, by their number
    largest error    the tokens whose forecast errs most, which nobody knows beforehand
    largest damage   those whose error changes the finished picture most, to first order, by gradients through the plain run
    spread           tokens spread evenly over the picture, others at each step
    ... and near     those, and the mean of what they were off by, by distance, is added to all tokens around them
    ... and alike    the same by likeness of the tokens before the first block in place of distance

The steps that are full are the same throughout: the distance between them grows along the run. PSNR is that to the plain run.
"""

import itertools
import math
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT))

import torch
from tqdm import tqdm

from benchmarks import demo_quality, effects, figures, measuring, pages, variants
from benchmarks.hooked import ChangedCall, Hooked
from demo.subjects import SUBJECTS
from toca_core import quality
from tools.pack import load_host, pack_module

load_host(cpu=not torch.cuda.is_available())
import comfy.model_sampling

swap, forecast = pack_module("toca_core.swap"), pack_module("toca_core.keep.forecast")
GUIDANCE, BATCH = 3.0, 4
WHOLE, BETWEEN, SHARES = (6, 8, 10, 12, 14), 8, (0.1, 0.2)          # full steps alone; with so large shares of the tokens between them
WIDTHS, LIKENESS = (1.0, 2.0, 4.0), 0.1                             # of the kernel, in tokens; of the softmax over cosines
PROBES = 4                                                          # random weighings of the picture's values, for the damage
GOLDEN = (0.7548776662466927, 0.5698402909980532)                   # Roberts' low-discrepancy sequence in two dimensions, 2018


def full_steps(count: int, steps: int) -> tuple[int, ...]:
    """The first, and so many in all, ever farther apart; the last one lies before the very last steps, which change little."""
    wanted = [round((steps - 3) * (index / (count - 1)) ** 2) for index in range(count)]
    return tuple(itertools.accumulate(wanted, lambda last, place: max(last + 1, place)))


# ---- which tokens, and what they tell the others ----


def largest_error(error, count: int, grid, step: int, effect):
    """error (B, N, C) of the forecast -> indices (B, count)."""
    return error.norm(dim=-1).topk(count, dim=1).indices


def largest_damage(error, count: int, grid, step: int, effect):
    """effect: as `effects.Effects.of` says of this call."""
    return effects.damage(effect, error).topk(count, dim=1).indices


def spread(error, count: int, grid, step: int, effect):
    """The same places in every sample, others at each step."""
    _, rows, columns = grid
    points = torch.arange(4 * count)[:, None] * torch.tensor(GOLDEN) + step * torch.tensor([0.5, 0.25])
    places = (points % 1 * torch.tensor([rows, columns])).long()
    chosen = list(dict.fromkeys((places[:, 0] * columns + places[:, 1]).tolist()))[:count]
    return torch.tensor(chosen).expand(error.shape[0], -1)


def near(width: float):
    """(tokens (B, N, C), indices (B, n), grid) -> how much each token hears of each chosen one, (B, N, n)."""
    def heard(tokens, chosen, grid):
        _, rows, columns = grid
        place = torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).float()
        apart = torch.cdist(place, place)[None].expand(len(chosen), -1, -1).gather(2, chosen[:, None].expand(-1, len(place), -1))
        return torch.softmax(-apart.square() / (2 * width ** 2), dim=-1)
    return heard


def alike(tokens, chosen, grid):
    unit = torch.nn.functional.normalize(tokens.float(), dim=-1)
    those = unit.gather(1, chosen[..., None].expand(-1, -1, unit.shape[-1]))
    return torch.softmax(unit @ those.transpose(1, 2) / LIKENESS, dim=-1)


RULES: dict[str, tuple[Callable, Callable | None]] = {
    "largest error": (largest_error, None), "largest damage": (largest_damage, None), "spread": (spread, None),
    **{f"spread and near, {width:g}": (spread, near(width)) for width in WIDTHS}, "spread and alike": (spread, alike)}


class Oracle(Hooked):
    """Pictures of one model with a rule between full steps."""

    def __init__(self, subject):
        super().__init__(subject.load())
        sampling = self.model.get_model_object("model_sampling")
        self.flow = isinstance(sampling, comfy.model_sampling.CONST)

    def run(self, batch, steps: int, full: tuple[int, ...], share: float = 0.0, rule=None, known=None):
        """-> (pictures, cost in full steps). known: the effects of every call, for the rule that wants them."""
        self.index, self.full, self.share, self.rule, self.known = -1, full, share, rule, known or {}
        self.anchors = defaultdict(lambda: forecast.Anchors(1, trust=False))                # of each call of an evaluation
        pictures, _ = measuring.sample(self.model, variants.plain("euler", steps), batch, GUIDANCE)
        return pictures, len(full) + share * (steps - len(full))

    def predict_noise(self, executor, x, timestep, *args, **kwargs):
        self.time = forecast.time_of(float(timestep.flatten()[0]), self.flow)
        return super().predict_noise(executor, x, timestep, *args, **kwargs)

    def called(self, call, about, x):
        with swap.swapped(ChangedCall(about, lambda tokens, truth: self.residual(tokens, truth, about[1].grid)).replacements()):
            return call()

    def residual(self, tokens, truth, grid):
        anchors = self.anchors[self.ordinal]
        if self.index in self.full or len(anchors.times) < 2:
            anchors.add(self.time, truth)
            return truth
        expected = anchors.at(self.time)
        if self.rule is None:
            return expected
        choose, heard = RULES[self.rule]
        error = truth - expected
        chosen = choose(error, max(1, round(self.share * error.shape[1])), grid, self.index,
                        self.known.get((self.index, self.ordinal)))
        rows = chosen[..., None].expand(-1, -1, error.shape[-1])
        known = error.gather(1, rows)
        if heard is not None:
            expected = expected + heard(tokens, chosen, grid).to(error.dtype) @ known
        return expected.scatter(1, rows, truth.gather(1, rows))


def cases() -> list[tuple]:
    """(rule or None, full steps, share)."""
    return [*((None, count, 0.0) for count in WHOLE), *((rule, BETWEEN, share) for rule in RULES for share in SHARES)]


def measure(subject, pictures: int, steps: int) -> list[dict]:
    """A row for each case, over so many pictures of one model."""
    oracle, felt, likeness = Oracle(subject), effects.Effects(subject.load()), {case: [] for case in cases()}
    costs = {}
    for batch in tqdm(measuring.make_batches(pictures, BATCH, subject), desc=subject.name):
        plain, _ = oracle.run(batch, steps, tuple(range(steps)))
        known = felt.of(batch, steps, GUIDANCE, PROBES)
        for case in likeness:
            rule, count, share = case
            result, costs[case] = oracle.run(batch, steps, full_steps(count, steps), share, rule, known)
            likeness[case] += quality.psnr(result, plain).tolist()
    rows = []
    for (rule, count, share), values in likeness.items():
        mean, worst = figures.mean_and_worst(values)
        rows.append({"model": subject.file.stem, "rule": rule or "none", "full": count, "share": share, "cost": costs[rule, count, share],
                     "mean": mean, "worst": worst, "error": figures.standard_error(values)})
    return rows


def beside(row: dict, rows: list[dict], key: str) -> float | None:
    """How far a row is above whole steps at its cost, in dB."""
    curve = [(1 / one["cost"], one[key]) for one in rows if (one["model"], one["rule"]) == (row["model"], "none")]
    reached = figures.at_speed(curve, 1 / row["cost"])
    return None if reached is None or math.isinf(row[key]) else row[key] - reached


def lines(rows: list[dict]) -> list[list[str]]:
    found = [["model", "tokens between full steps", "full steps", "share", "cost", "PSNR: mean / worst 5%", "+-", "above whole steps"]]
    for row in rows:
        apart = ["" if row["rule"] == "none" else "-" if value is None else f"{value:+.1f}" for value in
                 (beside(row, rows, key) for key in ("mean", "worst"))]
        found.append([row["model"], row["rule"], str(row["full"]), f"{row['share']:.0%}" if row["share"] else "", f"{row['cost']:.1f}",
                      f"{row['mean']:.1f} / {row['worst']:.1f}", f"{row['error']:.1f}", " / ".join(filter(None, apart))])
    return found


def save(report: dict, out: Path):
    _, _, what, *_, last = __doc__.split("\n\n")
    what, last = (" ".join(part.split()).rstrip(":.") for part in (what, last))
    text = (f"# What computing single tokens between full steps could gain at best\n\n{what}. {last}.\n\n"
            f"The tokens are those with the *largest error*; with the *largest damage* to the finished picture by it, to first order; "
            f"*spread* evenly over the picture, others at each step; and such ones whose errors are carried to the tokens *near* (a "
            f"Gaussian so many tokens wide) or *alike*. Cost is in full steps. *Above whole steps* is beside that curve at the same cost, "
            f"mean / worst 5%.")
    measured = f"{report['pictures']} pictures, {report['steps']} steps, guidance {GUIDANCE:g}"
    pages.write(out, "oracles", report, text, measured, lines(report["rows"]))


def main():
    parser = pages.parser_of("oracles", __doc__)
    parser.add_argument("--model", choices=SUBJECTS, nargs="+", default=list(SUBJECTS), help="of the demo (default all)")
    parser.add_argument("--pictures", type=int, default=64, help="of each model (default 64)")
    parser.add_argument("--steps", type=int, default=30)
    given = parser.parse_args()
    rows = [row for name in given.model for row in measure(SUBJECTS[name], given.pictures, given.steps)]
    report = {**demo_quality.surroundings(), "pictures": given.pictures, "steps": given.steps, "rows": rows}
    pages.deliver(given, "oracles", report, save, lines(rows), f"{given.pictures} pictures, {given.steps} euler steps")


if __name__ == "__main__":
    main()
