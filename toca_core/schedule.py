"""Which steps are full, and how many tokens are fresh where: plain numbers, decided before any tensor is touched."""

from dataclasses import dataclass

import numpy as np

from .config import ToCaConfig


@dataclass(frozen=True)
class Step:
    """One evaluation of the model by the sampler.

    index      counts evaluations up from 0
    position   place in the sampler's list of sigmas, 0..total; equal to `index` for samplers with one call a step
    total      T, the number of sampling steps
    """
    index: int
    position: float
    total: int

    @property
    def remaining(self) -> float:
        """s = T - 1 - i, the released code's downward count."""
        return self.total - 1 - self.position


def layer_factor(slope: float, block: int, divisor: int) -> float:
    return 1 + slope - 2 * slope * block / max(divisor, 1)


def step_factor(slope: float, step: Step) -> float:
    """Linear along the run; a negative slope counts from the end, as DiT's released schedule does."""
    if slope >= 0:
        return 1 + slope - 2 * slope * step.position / step.total
    return 1 - slope + 2 * slope * step.remaining / step.total


def fresh_ratio(config: ToCaConfig, step: Step, module: str, block: int, depth: int) -> float:
    """Share of fresh tokens of one module of one block at a partial step, before clamping."""
    if module == "self_attn":
        return 0.0
    given = config.ratios_of(module)
    if given is not None:
        return given[block] * step_factor(config.step_slope, step)
    divisor = depth - 1 if config.layer_divisor is None else config.layer_divisor
    share = config.mlp_share if module == "mlp" else config.cross_attn_share
    return config.fresh_ratio * layer_factor(config.layer_slope, block, divisor) * step_factor(config.step_slope, step) * share


def fresh_count(ratio: float, tokens: int) -> int:
    """floor(ratio x tokens) with the ratio clamped to 0..1 and the product in float32, as in the released code."""
    return int(np.float32(min(max(ratio, 0.0), 1.0)) * np.float32(tokens))


def fresh_counts(config: ToCaConfig, step: Step, module: str, depth: int, tokens: int) -> list[int]:
    return [fresh_count(fresh_ratio(config, step, module, block, depth), tokens) for block in range(depth)]


def interval(config: ToCaConfig, step: Step) -> int:
    """The distance between full steps, as renewed at a full step (round half to even)."""
    total = step.total
    if config.cycle_rule == "dit":
        if int(0.2 * total) <= step.remaining < int(0.4 * total):
            return 2
        return max(1, round(config.cycle / (1.4 - 0.8 * max(step.remaining, 0) / total)))
    if config.cycle_rule == "pixart":
        return max(1, round(config.cycle / (0.8 + 0.4 * min(step.position, total) / total)))
    return config.cycle


class Cycle:
    """Decides, evaluation by evaluation, whether a step is full. One per sampling run."""

    def __init__(self, config: ToCaConfig):
        self.config = config
        self.interval = None
        self.last_full = None

    def is_full(self, step: Step) -> bool:
        """Call once per step, in order."""
        full = self.config.always_full or step.index < self.config.warmup_steps or self.interval is None or self.due(step.index, step.total)
        if full:
            self.interval, self.last_full = interval(self.config, step), step.index
        return full

    def due(self, index: int, total: int) -> bool:
        if self.config.cycle_rule == "dit":
            return (total - 1 - index) % self.interval == 0
        if self.config.cycle_rule == "pixart":
            return index % self.interval == 0
        return index - self.last_full >= self.interval

    def partial_steps_ahead(self, step: Step) -> int:
        """How many partial steps follow a full step before the next full one."""
        count = 0
        while count < 2 * self.interval and not self.due(step.index + count + 1, step.total):
            count += 1
        return count
