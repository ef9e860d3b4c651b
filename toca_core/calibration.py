"""From a target and a few measured runs to settings: text and numbers in, numbers out.

What is chosen is preset auto's `tolerance`. Speed rises and likeness falls with it, both about evenly in its logarithm, so a target
is enclosed between two tolerances, and then read off the line between them (`search`).
"""

import math
import re
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field

from .checks import ConfigError, shown
from .config import ToCaConfig
from .error_cycle import ErrorCycle
from .presets import TOLERANCE
from .quality import IDENTICAL
from .schedule import Cycle, Moment, Step

STRIDE = 2.0                    # between tolerances on the way to a target
LOOSEST, TIGHTEST = 12.8, 0.0125        # percent
NEAR = 0.05                     # as a share: so near to a tolerance that was tried there is nothing to learn

NUMBER = r"(\d+(?:[.,]\d+)?)"
PSNR = r"psnr\s*(?:>=?|≥|=|:)?\s*"
FORMS = {                       # kind -> (how it is written, whole and in small letters; between which values, both excluded)
    "speed": (rf"{NUMBER}\s*(?:x|×|times)", (1, 100)),
    "psnr": (rf"(?:{PSNR})?{NUMBER}\s*db|{PSNR}{NUMBER}", (5, IDENTICAL)),
    "calls": (rf"{NUMBER}\s*calls?", (0, 10000)),
    "memory": (rf"(?:within|under|<=?|≤)?\s*{NUMBER}\s*gb", (0, 1024)),
}
SHOWN = {"speed": "{:g}x", "psnr": "PSNR >= {:g} dB", "calls": "{:g} calls", "memory": "within {:g} GB"}


@dataclass(frozen=True)
class Target:
    """What a calibration is to reach. kind: "speed" (times fewer FLOPs), "psnr" (mean dB), "calls" (of the model a run) or "memory" (GB,
    2**30 bytes, of the cache). said: as it was asked for, where that was of another kind."""
    kind: str
    value: float
    said: str = field(default="", compare=False)

    def __str__(self):
        return self.said or SHOWN[self.kind].format(self.value)


def parse_target(text: str) -> Target:
    """"2.5x", "PSNR >= 35", "35 dB", "10 calls", "within 6 GB" -> Target. Raises ConfigError on anything else."""
    words = text.strip().lower()
    for kind, (form, (low, high)) in FORMS.items():
        if found := re.fullmatch(form, words):
            value = float(next(filter(None, found.groups())).replace(",", "."))
            if not low < value < high:
                raise ConfigError(f"target is {shown(text)}; give a {kind} above {low:g} and below {high:g}.")
            return Target(kind, value)
    raise ConfigError(f"target is {shown(text)}; write a speed such as 2.5x, a likeness such as PSNR >= 35 or 35 dB, "
                      f"a number of calls such as 10 calls, or the cache's memory such as within 6 GB.")


def as_speed(target: Target, evaluations: int) -> Target:
    """A number of calls as the speed that it comes to; any other target as it is. Raises ConfigError."""
    if target.kind != "calls":
        return target
    if target.value >= evaluations:
        raise ConfigError(f"target is {target}, but a run without the cache takes {evaluations}; give fewer.")
    return Target("speed", evaluations / target.value, said=str(target))


@dataclass(frozen=True)
class Point:
    """What one tolerance gave, over all pictures.

    tolerance    percent
    speedup      times fewer FLOPs; `wall` the same of seconds
    cycle        mean distance in evaluations between full steps
    psnr         of every picture to the one sampled plainly, dB, `IDENTICAL` at most
    """
    tolerance: float
    speedup: float
    wall: float
    cycle: float
    psnr: tuple[float, ...]

    @property
    def mean(self) -> float:
        return statistics.mean(self.psnr)

    @property
    def uncertainty(self) -> float:
        """Of that mean where other pictures are concerned: its standard error, dB; infinite for one picture."""
        return statistics.stdev(self.psnr) / len(self.psnr) ** 0.5 if len(self.psnr) > 1 else math.inf

    @property
    def expected(self) -> float:
        """The PSNR to count on for other pictures: the mean less its standard error, dB."""
        return self.mean - (self.uncertainty if len(self.psnr) > 1 else 0.0)

    def against(self, target: Target) -> tuple[float, float]:
        """What the target speaks of, and the target, both so that they rise with the tolerance."""
        return (self.speedup, target.value) if target.kind == "speed" else (-self.expected, -target.value)

    def beyond(self, target: Target) -> bool:
        value, wanted = self.against(target)
        return value >= wanted

    def meets(self, target: Target) -> bool:
        """Whether the target is reached: a speed to a tenth, a likeness to 1 dB."""
        return self.speedup >= 0.9 * target.value if target.kind == "speed" else self.mean >= target.value - 1


# ---- the tolerance that reaches a target ----


def search(measure: Callable[[float], Point], target: Target) -> list[Point]:
    """The tolerances worth trying for a target, measured one after the other: -> their points, in rising order.

    From auto's own tolerance in strides until the target lies between two of them, then where the line between them says.
    """
    points = [measure(TOLERANCE)]
    stride = 1 / STRIDE if points[0].beyond(target) else STRIDE
    while points[0].beyond(target) == points[-1].beyond(target) and TIGHTEST <= points[-1].tolerance * stride <= LOOSEST:
        points.append(measure(points[-1].tolerance * stride))
    tolerance = choose(points, target)
    if all(abs(point.tolerance / tolerance - 1) > NEAR for point in points):
        points.append(measure(tolerance))
    return sorted(points, key=lambda point: point.tolerance)


def choose(points: list[Point], target: Target) -> float:
    """The tolerance that reaches the target, in percent, three digits of it; the nearest one measured where none does.

    Linear in the logarithm of the tolerance between neighbours, on what is left when measured ups and downs are levelled (`rising`).
    """
    points = sorted(points, key=lambda point: point.tolerance)
    values, wanted = rising([point.against(target)[0] for point in points]), points[0].against(target)[1]
    tolerance = points[0 if wanted < values[0] else -1].tolerance
    for point, following, low, high in zip(points, points[1:], values, values[1:], strict=False):
        if low <= wanted <= high:
            share = (wanted - low) / (high - low) if high > low else 0.0
            tolerance = point.tolerance * (following.tolerance / point.tolerance) ** share
            break
    return float(f"{tolerance:.3g}")


def nearest(points: list[Point], target: Target) -> Point:
    """Of what was measured, the point next to the tolerance that reaches the target."""
    tolerance = choose(points, target)
    return min(points, key=lambda point: abs(math.log(point.tolerance / tolerance)))


def rising(values: list[float]) -> list[float]:
    """The nearest values that never fall, by least squares: neighbours out of order become their mean (pool adjacent violators)."""
    pools = []
    for value in values:
        pools.append((value, 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (low, few), (high, many) = pools[-2:]
            pools[-2:] = [((low * few + high * many) / (few + many), few + many)]
    return [value for value, count in pools for _ in range(count)]


def fewest_full(config: ToCaConfig, evaluations: int, noise: float) -> int:
    """How many of a run's evaluations are full whatever its tolerance: the first ones, the last one that ends in next to no noise, one
    wherever the gap would be too long.

    noise    its share in the sample at the last evaluation
    """
    cycle, full = ErrorCycle(config, Cycle(config)), 0
    levels = [*[1.0] * (evaluations - 1), noise, 0.0]
    for index, (now, following) in enumerate(zip(levels, levels[1:], strict=False)):
        step, share = Step(index, index, evaluations), 1 - following / now if now else 1.0
        if cycle.is_full(Moment(step, now, index, share, now, ((index, now - following),))):
            full += 1
            cycle.measured(0.0)
    return full


# ---- shares of fresh tokens by sensitivity ----


def ratios_by_sensitivity(sensitivity: dict[str, list[float]], cost: dict[str, float], mean: float) -> tuple:
    """Per module and block a share of fresh tokens in proportion to its sensitivity, as `ToCaConfig.block_ratios`.

    cost    of one block of each module; the mean that is kept is weighted by it, so that as many FLOPs are spent as with `mean` for all

    No share passes 1: what a block cannot take goes to the others, in proportion again. Where nothing is sensitive, all get the mean.
    """
    every = [(cost[name], value) for name, blocks in sensitivity.items() for value in blocks]
    left = mean * sum(price for price, _ in every)            # to be spent
    scale, room = share_of(left, every), every
    while full := [price for price, value in room if value * scale > 1]:
        left, room = left - sum(full), [(price, value) for price, value in room if value * scale <= 1]
        scale = share_of(left, room)
    return tuple((name, tuple(round(min(1.0, value * scale), 4) if scale else mean for value in blocks))
                 for name, blocks in sensitivity.items())


def share_of(cost: float, room: list[tuple[float, float]]) -> float:
    """What one unit of sensitivity gets of a cost, among (price, sensitivity) pairs."""
    weight = sum(price * value for price, value in room)
    return cost / weight if weight > 0 else 0.0
