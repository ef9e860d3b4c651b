"""What a level is: a way to answer a call of the model from what earlier ones gave."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..ahead import Number
from ..calls.context import CallContext
from ..config import ToCaConfig
from ..costs.account import ModelCosts
from ..keep.memory import Need
from ..schedule import Cycle, Moment
from ..select.regions import Region
from ..together import Alone, Together


@dataclass
class Run:
    """What a level is told of the sampling run that it serves.

    kinds       of modules that the model has
    seed        of the run, for random selection
    record      what happens to single tokens goes there (`recording.TokenRecord`)
    remark      takes a sentence for the report
    linear      the sampler goes on by Euler's step, linear in the prediction, so that a known error can be taken back
    unrefined   why its steps cannot be followed in parts (`config.refine`), in words; empty where they can
    noisy       the sampler adds new noise at every step, of which nothing forecast must tell
    region      the part of the picture that counts, or None; `masked` says that its tokens are computed at every step
    priority    (b, N) what multiplies the scores of the picture's tokens, or None
    time_of     (noise level) -> time of forecasts
    says_picture    the model's blocks end in the clean picture, not in the noise in the sample
    refreshes   whether single tokens can go through the model's blocks
    together    the other processes that compute this sample
    """
    config: ToCaConfig
    cycle: Cycle
    kinds: frozenset[str]
    record: Any
    remark: Any
    seed: int = 0
    linear: bool = False
    noisy: bool = False
    region: Region | None = None
    masked: bool = False
    priority: Any = None
    refreshes: bool = False
    says_picture: bool = False
    time_of: Callable[[float], float] = lambda sigma: sigma
    model: str = field(default="The model")
    unrefined: str = ""
    together: Alone | Together = Alone()


class Level(Protocol):
    """Made when a run starts or its settings change, dropped with it. Caches are made by it and kept by the run, one per call."""

    def __init__(self, run: Run):
        """Settles what can be settled."""

    @property
    def whole(self) -> bool:
        """Every step is full, whatever the settings say."""

    def begin(self, moment: Moment) -> frozenset[str]:
        """Once per evaluation, in order: the kinds of modules that compute every token; of a level without modules all or none."""

    @staticmethod
    def need(about: CallContext, itemsize: int, attended: bool = False) -> Need:
        """What the cache of a call with its settings holds at most, for tokens of `itemsize` bytes a number.

        attended: whether keys and values are kept too, so that single tokens can be computed (`calls.refresh`)
        """

    @staticmethod
    def flops(costs: ModelCosts, about: CallContext) -> int:
        """What a call will compute, as far as settings tell (`predict.py`)."""

    def new_cache(self, about: CallContext) -> Any:
        """Has `bytes`."""

    def call(self, run_model, about: CallContext, cache, account):
        """The answer to a call; run_model() runs the model, account(session) is told what was computed."""

    def learn(self) -> float | Number | None:
        """After an evaluation: the error of its forecasts, relative to the prediction. The one wait for the device, where it decides."""

    def restart(self):
        """Something new is to be cached from this evaluation on: what was measured before says nothing of it."""

    def forget(self):
        """What was found in this evaluation does not count."""

    def idle(self) -> str:
        """Why no step was skipped in a run that allowed it, in words."""
