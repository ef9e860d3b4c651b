"""Published caches whose computed steps are chosen beforehand, from full runs of other pictures.

All choose by dynamic programming over the costs of gaps. What they forecast, with what weights, and what a gap costs is each one's own.
"""

import functools
import math
from collections.abc import Callable

import numpy as np

from benchmarks.rivals.forecasts import History, taylor
from benchmarks.rivals.full_runs import FullRuns
from benchmarks.rivals.online import StackRule
from benchmarks.rivals.seam import Rule

LONGEST = 10                        # steps between two computed ones, at most
RIDGE = 1e-3


def error(products: np.ndarray, step: int, anchors: list[int], weights: list[float]) -> np.ndarray:
    """Of every picture: the length of what a forecast lacks, from inner products (pictures, T, T)."""
    at, signs = [step, *anchors], np.array([1.0, *(-weight for weight in weights)])
    return np.sqrt(np.maximum(np.einsum("i,pij,j->p", signs, products[:, at][:, :, at], signs), 0.0))


def learned(products: np.ndarray, step: int, anchors: list[int]) -> list[float]:
    """The weights with the least square error over the pictures, each relative to the feature's length; drawn to the newest anchor."""
    relative = products / products[:, step, step][:, None, None]
    known = relative[:, anchors][:, :, anchors].mean(0)
    ridge = RIDGE * np.trace(known) / len(anchors) * np.eye(len(anchors))
    newest = np.eye(len(anchors))[0]
    return np.linalg.solve(known + ridge, relative[:, anchors, step].mean(0) + ridge @ newest).tolist()


def effect(sigma: float) -> float:
    """By how much an error in the sample is larger in the final picture.

    Measured on the demo's first model: 11, 4, 2.3 and 1.5 at noise levels .93, .83, .72 and .59.
    """
    return (1 - sigma + 0.02) ** -0.85


def gap_costs(runs: FullRuns, weigh: Callable, power: float = 1.0, by_outcome: bool = False) -> Callable:
    """-> cost(older, anchor, upcoming), of the steps between the last two, which are forecast with weigh(step, anchors) -> weights.

    What a step costs is the error that it puts into the sample, or into the final picture (by_outcome). A power above 1 makes one
    long gap dearer than several short ones.
    """
    steps = zip(runs.sigmas, runs.sigmas[1:], strict=False)
    length = [(sigma - after) * (effect(sigma) if by_outcome else 1.0) for sigma, after in steps]

    @functools.cache
    def forecast(older: int, anchor: int, step: int) -> np.ndarray:
        anchors = [anchor, older]
        return length[step] * error(runs.velocity, step, anchors, weigh(step, anchors))

    def cost(older: int, anchor: int, upcoming: int) -> float:
        total = sum((forecast(older, anchor, step) for step in range(anchor + 1, upcoming)), np.zeros(len(runs.velocity)))
        return math.sqrt(np.square(total).mean()) ** power
    return cost


def plan(steps: int, calls: int, cost: Callable) -> list[int]:
    """The cheapest choice of at most so many steps, 0 and 1 among them: dynamic programming over the newest two (DPCache, MeanCache)."""
    paths, finished = {(0, 1): (0.0, [0, 1])}, []
    for count in range(2, calls + 1):
        finished += [(spent + cost(*ends, steps), path) for ends, (spent, path) in paths.items() if steps - ends[1] <= LONGEST]
        further = {}
        for (older, anchor), (spent, path) in paths.items() if count < calls else ():
            for upcoming in range(anchor + 1, min(steps, anchor + LONGEST + 1)):
                whole = spent + cost(older, anchor, upcoming)
                if whole < further.get((anchor, upcoming), (math.inf,))[0]:
                    further[anchor, upcoming] = whole, [*path, upcoming]
        paths = further
    if not finished:
        raise ValueError(f"{calls} calls are too few for {steps} steps, of which at most {LONGEST - 1} in a row are skipped.")
    return min(finished)[1]


class DPCache(StackRule):
    """arXiv 2602.22654, *Denoising as Path Planning*: a gap costs what the forecast errs, given the two computed steps before it."""

    keep, order, first = 2, 1, 1

    def __init__(self, sigmas, computed: list[int]):
        super().__init__(sigmas)
        self.computed = computed

    def is_full(self):
        return self.step in self.computed

    @staticmethod
    def calibrated(runs: FullRuns, calls: int, power: float) -> dict:
        """The arguments from `computed` on."""
        return {"computed": plan(runs.steps, calls, gap_costs(runs, lambda step, anchors: taylor(anchors, step, 1), power))}


class L2P(DPCache):
    """arXiv 2604.26365, Shen, Huang, Liu, Zou et al.: the weights of past features are learned for every step, with least squares.

    Computed steps are those for which the learned weights err least in the final picture; the paper gives no rule of its own.
    """

    def __init__(self, sigmas, computed: list[int], weights: dict[int, list[float]], keep: int):
        self.keep, self.weights = keep, weights
        super().__init__(sigmas, computed)

    def forecast(self):
        return self.entry + self.residuals.combined(self.weights[self.step])

    @staticmethod
    def calibrated(runs: FullRuns, calls: int, power: float, keep: int) -> dict:
        computed = plan(runs.steps, calls, gap_costs(runs, lambda *at: learned(runs.velocity, *at), power, by_outcome=True))
        before = {step: [one for one in reversed(computed) if one < step][:keep] for step in range(runs.steps) if step not in computed}
        return {"computed": computed, "keep": keep,
                "weights": {step: learned(runs.residual, step, anchors) for step, anchors in before.items()}}


class MeanCache(Rule):
    """arXiv 2601.19961, Gao et al.: the guided velocity goes on with a slope (the paper's JVP) from an older computed step.

    Computed steps are a shortest path with suppressed peaks; for every gap either the slope or none, whichever errs less. The authors'
    code also takes slopes from steps that were forecast themselves (`Mc_qwenimage.py`, compute_current_jvp).
    """

    def __init__(self, sigmas, orders: dict[int, int]):
        """orders: of every computed step whether the gap after it goes on with a slope (1) or without (0)."""
        super().__init__(sigmas)
        self.orders, self.velocities = orders, History(2)

    def predict(self, run_model, x, sigma):
        if self.step in self.orders:
            picture, self.order = run_model(), self.orders[self.step]
            self.velocities.add(sigma, (x - picture) / sigma)
            return picture
        return x - sigma * self.velocities.combined(taylor(self.velocities.times, sigma, self.order))

    @staticmethod
    def calibrated(runs: FullRuns, calls: int, power: float, by_outcome: bool) -> dict:
        def weights(order):
            return lambda step, anchors: taylor([runs.sigmas[anchor] for anchor in anchors], runs.sigmas[step], order)
        reused, sloped = (gap_costs(runs, weights(order), power, by_outcome) for order in (0, 1))
        computed = plan(runs.steps, calls, lambda *gap: min(reused(*gap), sloped(*gap)))
        gaps = zip([0, *computed], computed, [*computed[1:], runs.steps], strict=False)
        return {"orders": {anchor: int(older < anchor and sloped(older, anchor, upcoming) < reused(older, anchor, upcoming))
                           for older, anchor, upcoming in gaps}}
