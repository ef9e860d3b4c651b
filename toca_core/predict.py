"""What a sampling run will cost, before it runs: the steps that its settings make full, and what every call computes at its level."""

from dataclasses import dataclass

from .calls.context import CallContext
from .config import ToCaConfig
from .costs.account import ModelCosts, Sizes
from .levels import LEVELS
from .schedule import Cycle, Moment, Step
from .timeline import allowed


@dataclass(frozen=True)
class Shape:
    """What a run works on, as numbers.

    total      T, the number of sampling steps
    places     of each evaluation: (position in the sampler's list of sigmas, whether it may be partial)
    calls      of each evaluation: (Sizes, conditionings) of every call of the model
    itemsize   bytes of one number of the tokens
    linear     as in `levels.base.Run`
    """
    total: int
    places: tuple[tuple[float, bool], ...]
    calls: tuple[tuple[Sizes, int], ...]
    itemsize: int
    linear: bool = True


@dataclass
class Prediction:
    """FLOPs of all calls, with and without the cache; bytes that the cache will hold at most; evaluations by kind."""
    flops: int = 0
    plain_flops: int = 0
    cache_bytes: int = 0
    full: int = 0
    partial: int = 0

    @property
    def speedup(self) -> float:
        return self.plain_flops / self.flops if self.flops else 1.0


def predict(costs: ModelCosts, config: ToCaConfig, shape: Shape) -> Prediction | None:
    """The account of a run; None where its full steps depend on the picture, as with a tolerance above 0."""
    if config.forecasts and config.tolerance and not config.counted:
        return None
    left = allowed(config, len(shape.places)) - sum(not active for _, active in shape.places) if config.counted else None
    level, cycle, kinds = LEVELS[config.level], Cycle(config), frozenset(costs.layout.kinds)
    found, cached = Prediction(), False
    for index, (position, active) in enumerate(shape.places):
        step, active = Step(index, position, shape.total), active and not config.always_full
        full = cycle.full_kinds(step) & kinds if active else kinds
        full = full if cached else kinds                            # nothing is kept yet
        if config.forecasts:
            full = kinds if not cached or ("self_attn" in full if left is None else left > 0) else frozenset()
        if left is not None and active:
            left -= full == kinds                                   # which of them are full does not count here
        for sizes, conds in shape.calls:
            about = CallContext(config, cycle, Moment(step), sizes, conds, full)
            plain = costs.plain_flops(sizes)
            found.plain_flops += plain
            found.flops += level.flops(costs, about) if active else plain
        found.full, found.partial = found.full + (full == kinds), found.partial + (full != kinds)
        cached = active
    if any(active for _, active in shape.places) and not config.always_full:
        found.cache_bytes = sum(need_of(config, sizes, conds, shape.itemsize, costs, linear=shape.linear).total
                                for sizes, conds in shape.calls)
    return found


def need_of(config: ToCaConfig, sizes: Sizes, conds: int, itemsize: int, costs: ModelCosts, attended: bool = False, linear: bool = True):
    """Bytes that the cache of one call will hold at most (`keep.memory.Need`)."""
    about = CallContext(config, Cycle(config), Moment(Step(0, 0, 1)), sizes, conds, bound=costs, linear=linear)
    return LEVELS[config.level].need(about, itemsize, attended)
