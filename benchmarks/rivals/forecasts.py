"""What each computed step, newest first, weighs in the forecast of another: the formulas of the published caches.

Times are whatever the method counts in, steps or noise levels.
"""

import numpy as np


def taylor(times: list[float], now: float, order: int) -> list[float]:
    """TaylorSeer (arXiv 2503.06923): derivatives by finite differences, put into Taylor's series at the newest step.

    The difference of order n is that of two differences of order n - 1 over the newest gap they span, as in the authors'
    `derivative_approximation`, so beyond order 1 it is exact for no polynomial: they have it so.
    """
    gaps = [newer - older for newer, older in zip(times, times[1:], strict=False)]
    derivatives = [np.eye(len(times))]                              # of order n at every step, as weights of the steps
    for _ in range(min(order, len(gaps))):
        rows = derivatives[-1]
        derivatives.append(np.array([(rows[index] - rows[index + 1]) / gaps[index] for index in range(len(rows) - 1)]))
    weights, factor = np.zeros(len(times)), 1.0
    for degree, rows in enumerate(derivatives):
        weights += factor * rows[0]
        factor *= (now - times[0]) / (degree + 1)
    return weights.tolist()


def chebyshev(times: list[float], now: float, last: float, degree: int, ridge: float, share: float) -> list[float]:
    """Spectrum (arXiv 2603.01623): ridge regression on Chebyshev polynomials over the whole run, 0..last.

    Of the forecast it makes a share; the rest is Taylor's line.
    """
    basis = np.polynomial.chebyshev.chebvander(2 * np.array([*times, now]) / last - 1, degree)
    known, wanted = basis[:-1], basis[-1]
    fit = wanted @ np.linalg.solve(known.T @ known + ridge * np.eye(degree + 1), known.T)
    return (share * fit + (1 - share) * np.array(taylor(times, now, 1))).tolist()


class History:
    """Computed steps, newest first: when, and what (tensors of one shape)."""

    def __init__(self, keep: int):
        self.keep, self.times, self.features = keep, [], []

    def add(self, time: float, feature):
        self.times, self.features = [time, *self.times][:self.keep], [feature, *self.features][:self.keep]

    def combined(self, weights: list[float]):
        """The weighted sum, newest first, in a tensor of its own."""
        total = self.features[0] * weights[0]
        for weight, feature in zip(weights[1:], self.features[1:], strict=False):
            total.add_(feature, alpha=weight)
        return total
