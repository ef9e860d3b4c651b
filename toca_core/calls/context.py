"""What one evaluation and one call of the model are about; handed along in place of its parts."""

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import Any

from ..config import ToCaConfig
from ..costs.account import Sizes
from ..schedule import Cycle, Moment, Step


@dataclass(frozen=True)
class Part:
    """A part of a sample of several, such as the sound of a video, which lie one after another in (B, 1, numbers).

    count    of its numbers
    sigma    its own noise level at this evaluation
    slope    by how much its own noise level changes with the run's; what the model says of it carries that factor
    """
    count: int
    sigma: float
    slope: float = 1.0


@dataclass(frozen=True)
class CallContext:
    """One call of the model, for the conditionings that are computed together.

    full        the kinds of modules that compute every token
    bound       the model's stacks (`families.layout.BoundModel`), None where they are not known
    x           the sample (B, C, ...) that the model is asked about; None where a call is only foreseen
    model       whose call it is
    hindered    why no single token can be computed in this call, in words; empty where nothing hinders
    parts       of x, where they have noise levels of their own; else empty
    ran         () -> whether the model ran in this call, where that can be told from outside: another node may answer in its place
    linear      as in `levels.base.Run`
    """
    config: ToCaConfig
    cycle: Cycle
    moment: Moment
    sizes: Sizes
    conds: int = 1
    full: frozenset[str] = frozenset()
    bound: Any = None
    _: KW_ONLY
    x: Any = None
    model: Any = None
    hindered: str = ""
    parts: tuple[Part, ...] = ()
    ran: Callable[[], bool] = lambda: True
    linear: bool = True

    def counting(self, run_model):
        """The call of the model, counted where that is still to be done (`families.layout`)."""
        return run_model if self.bound is None else self.bound.counting(self.sizes, run_model)

    @property
    def step(self) -> Step:
        return self.moment.step

    @property
    def time(self) -> float:
        return self.moment.time
