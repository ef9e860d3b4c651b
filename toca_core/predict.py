"""What a sampling run will cost, before it runs: the steps that its settings make full, and the account of every call (`costs.py`)."""

from dataclasses import dataclass

from .config import ToCaConfig
from .families.costs import Account, ModelCosts, Sizes
from .schedule import Cycle, Step


@dataclass(frozen=True)
class Shape:
    """What a run works on, as numbers.

    total      T, the number of sampling steps
    places     of each evaluation: (position in the sampler's list of sigmas, whether it may be partial)
    calls      of each evaluation: (Sizes, conditionings) of every call of the model
    itemsize   bytes of one number of the tokens
    repays     whether the known error is taken back, which costs a forecast at each full step of level "stack"
    """
    total: int
    places: tuple[tuple[float, bool], ...]
    calls: tuple[tuple[Sizes, int], ...]
    itemsize: int
    repays: bool = False


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
    if config.level == "stack" and config.tolerance:
        return None
    cycle, kinds, found, cached = Cycle(config), frozenset(costs.layout.kinds), Prediction(), False
    for index, (position, active) in enumerate(shape.places):
        step, active = Step(index, position, shape.total), active and not config.always_full
        full = cycle.full_kinds(step) & kinds if active else kinds
        full = full if cached else kinds                            # nothing is kept yet
        for sizes, conds in shape.calls:
            plain = costs.plain_flops(sizes)
            found.plain_flops += plain
            if not active:
                found.flops += plain
            elif config.level == "stack":
                found.flops += stack_flops(costs, sizes, "self_attn" in full, trial=cached and shape.repays and config.repayment > 0)
            else:
                found.flops += account(costs, config, step, cycle, sizes, conds, full).flops
        is_full = "self_attn" in full if config.level == "stack" else full == kinds
        found.full, found.partial = found.full + is_full, found.partial + (not is_full)
        cached = active
    if any(active for _, active in shape.places) and not config.always_full:
        found.cache_bytes = sum(costs.cache_need(config, sizes, conds, shape.itemsize).total for sizes, conds in shape.calls)
    return found


def stack_flops(costs: ModelCosts, sizes: Sizes, full: bool, trial: bool) -> int:
    """One call at level "stack"; trial: at a full step the forecast that would have spared it is made too."""
    if not full:
        return costs.skipped_flops(sizes)
    return costs.plain_flops(sizes) + (costs.skipped_flops(sizes) if trial else 0)


def account(costs: ModelCosts, config: ToCaConfig, step: Step, cycle: Cycle, sizes: Sizes, conds: int, full: frozenset[str]) -> Account:
    """What one call at level "module" will compute, told from its settings."""
    call = Account(costs, config, step, cycle, sizes, conds, full)
    for stack in costs.stacks:
        scoring, scored_by = call.scoring(stack), stack.scored_by(config.score)
        for site in stack.sites:
            tokens, whole = stack.tokens_of(site, sizes), stack.whole(site, full)
            counts = [tokens] * stack.depth if whole else call.fresh_counts(site, tokens)
            for block, count in enumerate(counts):
                call.count(site, block, tokens, count)
                if site == scored_by and (scoring if whole else count):
                    call.count_scores(stack, count)
    return call
