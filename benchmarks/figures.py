"""What likeness comes to over many pictures, and what curves say at equal speed: numbers only."""

import math
import statistics

from toca_core.quality import IDENTICAL

WORST = 0.05                        # share of the pictures that "worst" is the mean of
SIDES = {"cache": ("cache", "rival"), "solver": ("solver",), "ours": ("ours",)}          # of which kinds the best is taken


def mean_and_worst(decibels: list[float]) -> tuple[float, float]:
    """Of PSNRs in dB: their mean and that of the worst 5%, at least one; infinite only where all of them are."""
    if all(math.isinf(value) for value in decibels):
        return math.inf, math.inf
    ordered = sorted(min(value, IDENTICAL) for value in decibels)
    worst = ordered[:math.ceil(WORST * len(ordered))]
    return sum(ordered) / len(ordered), sum(worst) / len(worst)


def standard_error(decibels: list[float]) -> float:
    """Of a mean of PSNRs."""
    values = [min(value, IDENTICAL) for value in decibels]
    return statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 0.0


def difference(first: list[float], second: list[float]) -> tuple[float, float]:
    """-> (mean of first minus second, its standard error) in dB, where both are of the same pictures in the same order."""
    apart = [one - other for one, other in zip(first, second, strict=True)]
    return statistics.mean(apart), standard_error(apart)


def at_speed(points: list[tuple[float, float]], speed: float) -> float | None:
    """The dB of a curve of (speed-up, dB) at a speed-up: linear in log speed between neighbours, None outside of what was measured."""
    points = sorted(point for point in points if math.isfinite(point[1]))
    for (slow, above), (fast, below) in zip(points, points[1:] or points, strict=False):
        if slow <= speed <= fast:
            share = math.log(speed / slow) / math.log(fast / slow) if fast > slow else 0.0
            return above + share * (below - above)
    return None


def leads(rows: list[dict], speeds: tuple[float, ...], by: str = "speedup") -> list[dict]:
    """Ours at equal speed-up beside the best of the caching baselines and of the solvers with fewer steps.

    rows: as `measuring.Comparison.rows` makes them; by: which of their speed-ups, "speedup" (wall) or "flops_speedup". A best is the
    best of its families' curves, for the mean and for the worst 5% apart; `lead` is ours minus the better of the two, None where
    either side was not measured at that speed.
    """
    found = []
    for speed in speeds:
        for key in ("psnr_mean", "psnr_worst"):
            sides = {side: best_at(rows, kinds, key, speed, by) for side, kinds in SIDES.items()}
            rival = max((sides[kind]["psnr"] for kind in ("cache", "solver") if sides[kind]), default=None)
            lead = sides["ours"]["psnr"] - rival if sides["ours"] and rival is not None else None
            found.append({"speedup": speed, "figure": key, **sides, "lead": lead})
    return found


def best_at(rows: list[dict], kinds: tuple[str, ...], key: str, speed: float, by: str) -> dict | None:
    """The family of these kinds with the highest curve at a speed-up: {"family", "psnr"}, None where no curve reaches there."""
    families = dict.fromkeys(row["family"] for row in rows if row["kind"] in kinds)
    reached = {family: at_speed([(row[by], row[key]) for row in rows if row["family"] == family], speed) for family in families}
    reached = {family: value for family, value in reached.items() if value is not None}
    best = max(reached, key=reached.get, default=None)
    return best and {"family": best, "psnr": reached[best]}
