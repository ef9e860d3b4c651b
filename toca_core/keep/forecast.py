"""From what was computed at full steps to what is expected at a partial one.

Features move smoothly along the run, so what the last full steps gave, the anchors, is continued in the sampler's own time
(TaylorSeer, Liu et al. 2025, on uneven steps). How far a token follows its anchors is measured at every full step.
"""

import copy
import math
from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np
import torch

from .storage import Kept, Store, pieces

Weights = Callable[[list[float], float, int], list[float]]         # as `taylor_weights`

NOISE_RANGE = 0.01              # rectified flow's noise levels are kept this far from 0 and 1, where the log-SNR is infinite
TRUST_RANGE = (0.0, 1.3)        # of the factor by which a token's forecast change is scaled
TRUST_MEMORY = 0.5              # share of the earlier factor in a new one
BENT_ORDER, BEND = 1, 0.5       # how far a line bends to the parabola where it sets out (docs/bench/ablation_output.md)
NOISY_CHANGE = 0.5              # of the last change goes on where new noise came between the anchors (docs/bench/noisy.md)
REPEATED = 0.5                  # of the last step, as which a second question at one noise level counts (heun, demo model: 0.25 to 2 tried)


def noise_share(sigma: float, flow: bool) -> float:
    """Of noise in a sample of variance one, 0..1, at a noise level."""
    return sigma if flow else sigma / math.hypot(1, sigma)


def time_of(sigma: float, flow: bool) -> float:
    """The time of a forecast at a noise level: minus half the log-SNR."""
    if not flow:
        return math.log(max(sigma, 1e-4))
    share = min(max(sigma, NOISE_RANGE), 1 - NOISE_RANGE)
    return math.log(share / (1 - share))


def taylor_weights(anchors: list[float], now: float, order: int) -> list[float]:
    """What each anchor, newest first, weighs in the polynomial through the newest `order + 1` of them, read at `now`."""
    nodes = anchors[:order + 1]
    return [math.prod((now - other) / (node - other) for other in nodes if other != node) for node in nodes]


def between(lower: list[float], higher: list[float], part: float) -> list[float]:
    """A part of the way from weights of fewer anchors to those of more."""
    return [one + part * (other - one) for one, other in zip_longest(lower, higher, fillvalue=0.0)]


def noisy_weights(anchors: list[float], now: float, order: int) -> list[float]:
    """Likewise where new noise comes at every step, so that a part of what the anchors differ by does not go on."""
    return between([1.0], taylor_weights(anchors, now, order), NOISY_CHANGE)


def bent_weights(anchors: list[float], now: float, order: int) -> list[float]:
    """Likewise, a line bent a part of the way to the parabola through the newest three anchors.

    A smaller part the farther it goes on, and the farther the anchors are apart: across long gaps a parabola goes astray.
    """
    line = taylor_weights(anchors, now, order)
    if order != BENT_ORDER or len(anchors) < read_by_bent(order):
        return line
    span = abs(anchors[0] - anchors[1])
    part = BEND * math.exp(-span * span) / (1 + abs(now - anchors[0]) / span)
    return between(line, taylor_weights(anchors, now, order + 1), part)


def read_by_bent(order: int) -> int:
    """How many anchors `bent_weights` reads."""
    return order + 1 + (order == BENT_ORDER)


def growth(anchors: Sequence[float], now: float, noisy: bool = False) -> float:
    """How the error of a forecast grows with the distance: as the product of the distances to the anchors it is made from.

    A sampler that asks twice at one noise level asks about another sample: that counts as a part of the last step's length.
    noisy: new noise comes at every step, which no anchor knows of; the error grows with the distance to the newest
    """
    step = REPEATED * abs(anchors[0] - anchors[1]) if len(anchors) > 1 else 0.0
    return math.prod(abs(now - anchor) or step for anchor in (anchors[:1] if noisy else anchors))


class Anchors:
    """The features (B, N, C) of the last full steps, newest first, and the trust (B, N, 1) that their continuation has earned.

    weights     `taylor_weights`, or others like them
    store       in which form the features are kept
    keep        how many anchors, at most; 0: as many as `taylor_weights` reads
    """

    def __init__(self, order: int, trust: bool = True, store: Store | None = None, weights: Weights = taylor_weights, keep: int = 0):
        self.order, self.weights, self.trusting, self.store, self.keep = order, weights, trust, store or Store(), keep or order + 1
        self.times: list[float] = []
        self.features: list[torch.Tensor | Kept] = []
        self.trust: torch.Tensor | None = None

    def fits(self, x) -> bool:
        """Whether these are features of tokens like x (B, N, any width)."""
        return bool(self.features) and self.features[0].shape[:2] == x.shape[:2] and self.features[0].device == x.device

    def add(self, time: float, feature):
        """A full step's feature; the trust is measured by what the earlier anchors would have said."""
        if not self.fits(feature):
            self.times, self.features, self.trust = [], [], None
        elif self.trusting:
            self.learn(feature, time)
        if time in self.times:                                      # a sampler that evaluates one noise level twice
            self.times, self.features = self.times[1:], self.features[1:]
        self.times, self.features = [time, *self.times][:self.keep], [self.store.put(feature), *self.features][:self.keep]

    def divided(self, count: int) -> list:
        """Of `count` equal parts of the batch, each its own; their memory is shared."""
        parts = [copy.copy(self) for _ in range(count)]
        features = [self.store.divided(feature, count) for feature in self.features]
        trusts = [None] * count if self.trust is None else self.trust.chunk(count)
        for index, part in enumerate(parts):
            part.times, part.features, part.trust = list(self.times), [feature[index] for feature in features], trusts[index]
        return parts

    @classmethod
    def joined(cls, parts: list) -> Any:
        """The other way; None where they are not of the same full steps."""
        first = parts[0]
        if any(part.times != first.times or (part.trust is None) != (first.trust is None) for part in parts):
            return None
        whole = copy.copy(first)
        whole.features = [first.store.joined(list(features)) for features in zip(*(part.features for part in parts), strict=True)]
        whole.trust = None if first.trust is None else torch.cat([part.trust for part in parts])
        return whole

    def newest(self):
        """The feature of the last full step; the kept one itself, where it is kept as it came."""
        return self.store.get(self.features[0])

    def renew(self, feature):
        """The newest feature, changed in part."""
        self.features[0] = self.store.put(feature)

    def fetch(self):
        """Start bringing the features back to their device."""
        for feature in self.features:
            self.store.fetch(feature)

    def learn(self, truth, time: float):
        """The least-squares factor that would have scaled the forecast change to the true one, per token."""
        factor = torch.empty(*truth.shape[:2], 1, device=truth.device)
        for where, newest, change in self.in_pieces(time):
            if change is None:
                return
            change, followed = change.float(), truth[where].float() - newest.float()
            factor[where] = (change * followed).sum(-1, keepdim=True) / change.square().sum(-1, keepdim=True).clamp_min(1e-12)
        factor = factor.clamp(*TRUST_RANGE)
        self.trust = factor if self.trust is None else torch.lerp(factor, self.trust, TRUST_MEMORY)

    def in_pieces(self, time: float):
        """Stretch by stretch of the tokens: (where, the newest feature there, its `change` there).

        What lies in the host's memory is brought back as a whole first.
        """
        features = [self.store.get(feature) if self.store.offload else feature for feature in self.features]
        for where in pieces(features[0].shape, features[0].device):
            newest, *earlier = (self.store.get(feature[where]) for feature in features)
            yield where, newest, self.change(((time, 1.0),), newest, earlier)

    def expected(self, time: float):
        """`at`, stretch by stretch: (where, the feature expected there, in a tensor of its own)."""
        for where, newest, change in self.in_pieces(time):
            if change is None:
                yield where, newest.clone()
            else:
                yield where, (change if self.trust is None else change.mul_(self.trust[where].to(change.dtype))).add_(newest)

    def change(self, when, newest, earlier=None):
        """By how much the feature will differ from the newest anchor's; None where nothing tells.

        when       (time, width) of pieces, of which it is the mean
        earlier    of the other anchors the same tokens as of the newest, where they are not all
        """
        order = min(self.order, len(self.times) - 1)
        if order == 0 or all(time == self.times[0] for time, _ in when):
            return None
        whole = sum(width for _, width in when)
        weights = np.array([self.weights(self.times, time, order) for time, _ in when])
        mean = np.array([width / whole for _, width in when]) @ weights
        change = None
        others = map(self.store.get, self.features[1:]) if earlier is None else earlier
        for weight, feature in zip(mean[1:].tolist(), others, strict=False):
            part = (feature - newest) * weight
            change = part if change is None else change.add_(part)
        return change

    def onto(self, x, time: float):
        """x (B, N, C) plus the feature expected at a time."""
        newest = self.newest()
        total, change = x + newest, self.trusted_change(((time, 1.0),), newest)
        return total if change is None else total.add_(change)

    def at(self, time: float):
        """The feature expected at a time, in a tensor of its own."""
        return self.over(((time, 1.0),))

    def over(self, when):
        """The mean of the features expected over (time, width)."""
        newest = self.newest()
        change = self.trusted_change(when, newest)
        return newest.clone() if change is None else change.add_(newest)

    def trusted_change(self, when, newest):
        """The change, as far as it has earned trust."""
        change = self.change(when, newest)
        return change if change is None or self.trust is None else change.mul_(self.trust.to(change.dtype))

    @property
    def bytes(self) -> int:
        return sum(feature.nbytes for feature in self.features) + (0 if self.trust is None else self.trust.nbytes)
