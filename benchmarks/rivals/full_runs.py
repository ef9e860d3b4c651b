"""What full runs of other pictures tell a method that is calibrated: how features change from step to step, as numbers."""

from dataclasses import dataclass

import numpy as np
import torch

from benchmarks.rivals.seam import Rule, at_blocks


@dataclass
class FullRuns:
    """
    sigmas       noise levels of the steps and of the end
    velocity     (pictures, T, T) inner products of the guided velocity at every two steps
    residual     (pictures x conditionings, T, T) the same of what all blocks add to the tokens
    ratios       T: mean ratio of a token's residual to that of the step before, in magnitude; 1 at the first
    """
    sigmas: list[float]
    velocity: np.ndarray
    residual: np.ndarray
    ratios: list[float]

    @property
    def steps(self) -> int:
        return len(self.sigmas) - 1


class Recorder(Rule):
    """Computes everything, and puts what it sees into lists."""

    def __init__(self, sigmas, velocities: list, residuals: list):
        super().__init__(sigmas)
        self.velocities, self.residuals = velocities, residuals

    def predict(self, run_model, x, sigma):
        picture = run_model()
        self.velocities.append((x - picture) / sigma)
        return picture

    def call(self, through):
        return through(at_blocks, self.visit)

    def visit(self, place, tokens, compute):
        if place.first:
            self.entry = tokens.clone()
        tokens = compute()
        if place.last:
            self.residuals.append(tokens[:, -self.entry.shape[1]:] - self.entry)
        return tokens


def products(features: list) -> np.ndarray:
    """Of T features (B, ...): (B, T, T) float64."""
    rows = torch.stack([feature.flatten(1) for feature in features], dim=1).double()               # (B, T, numbers)
    return (rows @ rows.mT).cpu().numpy()


def magnitudes(residuals: list) -> list[float]:
    """Of residuals (B, N, C) step by step, the ratios."""
    norms = [residual.norm(dim=-1) for residual in residuals]
    return [1.0, *(float((now / before).mean()) for before, now in zip(norms, norms[1:], strict=False))]


def record(run, batches, sigmas: list[float]) -> FullRuns:
    """run(make, batch): samples a batch in full with that rule; conditionings have to be asked together, one call a step."""
    velocity, residual, ratios = [], [], []
    for batch in batches:
        velocities, residuals = [], []
        run(lambda levels, lists=(velocities, residuals): Recorder(levels, *lists), batch)
        if not len(velocities) == len(residuals) == len(sigmas) - 1:
            raise ValueError(f"{len(sigmas) - 1} steps asked for {len(velocities)} predictions in {len(residuals)} calls of the model: "
                             "rivals are measured over samplers with one call a step; choose another with --sampler.")
        velocity.append(products(velocities))
        residual.append(products(residuals))
        ratios.append(magnitudes(residuals))
    return FullRuns(sigmas, np.concatenate(velocity), np.concatenate(residual), np.mean(ratios, axis=0).tolist())
