"""How alike pictures are, and what curves say at equal speed: tensors and numbers only."""

import math

import torch
from torch.nn import functional

IDENTICAL = 99.0                    # dB that an identical picture counts in a mean, in place of infinity
WORST = 0.05                        # share of the pictures that "worst" is the mean of
WINDOW, SIGMA = 11, 1.5             # of SSIM's Gaussian, in pixels


def psnr(pictures, references):
    """Peak signal-to-noise ratio of each picture (B, C, H, W) in 0..1, in dB; inf where the two are identical."""
    return -10 * torch.log10((pictures - references).square().flatten(1).mean(1))


def ssim(pictures, references):
    """Structural similarity of each picture (B, C, H, W) in 0..1: the mean over all whole windows and channels.

    Wang et al., *Image Quality Assessment: From Error Visibility to Structural Similarity*, 2004, equation 13 with its constants.
    """
    mean_x, mean_y = blurred(pictures), blurred(references)
    var_x, var_y = blurred(pictures.square()) - mean_x.square(), blurred(references.square()) - mean_y.square()
    covariance = blurred(pictures * references) - mean_x * mean_y
    c1, c2 = 0.01 ** 2, 0.03 ** 2
    likeness = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return (likeness / ((mean_x.square() + mean_y.square() + c1) * (var_x + var_y + c2))).flatten(1).mean(1)


def blurred(pictures):
    """Gaussian means of the whole windows of (B, C, H, W) -> (B, C, H - 10, W - 10)."""
    line = torch.exp(-((torch.arange(WINDOW, dtype=pictures.dtype) - WINDOW // 2) / SIGMA).square() / 2)
    line, channels = (line / line.sum()).to(pictures.device), pictures.shape[1]
    across = functional.conv2d(pictures, line.expand(channels, 1, 1, WINDOW), groups=channels)
    return functional.conv2d(across, line[:, None].expand(channels, 1, WINDOW, 1), groups=channels)


def mean_and_worst(decibels: list[float]) -> tuple[float, float]:
    """Of PSNRs in dB: their mean and that of the worst 5%, at least one; infinite only where all of them are."""
    if all(math.isinf(value) for value in decibels):
        return math.inf, math.inf
    ordered = sorted(min(value, IDENTICAL) for value in decibels)
    worst = ordered[:math.ceil(WORST * len(ordered))]
    return sum(ordered) / len(ordered), sum(worst) / len(worst)


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
            sides = {kind: best_at(rows, kind, key, speed, by) for kind in ("cache", "solver", "ours")}
            rival = max((sides[kind]["psnr"] for kind in ("cache", "solver") if sides[kind]), default=None)
            lead = sides["ours"]["psnr"] - rival if sides["ours"] and rival is not None else None
            found.append({"speedup": speed, "figure": key, **sides, "lead": lead})
    return found


def best_at(rows: list[dict], kind: str, key: str, speed: float, by: str) -> dict | None:
    """The family of a kind with the highest curve at a speed-up: {"family", "psnr"}, None where no curve reaches there."""
    families = dict.fromkeys(row["family"] for row in rows if row["kind"] == kind)
    reached = {family: at_speed([(row[by], row[key]) for row in rows if row["family"] == family], speed) for family in families}
    reached = {family: value for family, value in reached.items() if value is not None}
    best = max(reached, key=reached.get, default=None)
    return best and {"family": best, "psnr": reached[best]}
