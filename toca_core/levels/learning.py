"""The first call of a model that no entry names: everything is computed, and its blocks are looked for on the way (`families.learning`)."""

from ..calls.context import CallContext
from ..costs.account import ModelCosts, Sizes
from ..families.learning import Watch
from ..keep.memory import Need
from ..schedule import Moment
from ..swap import swapped
from .base import Run
from .output import OutputCall, plain_flops


class Nothing:
    """Nothing is kept yet."""
    bytes = 0

    def divided(self, count: int) -> list["Nothing"]:
        return [self] * count

    @classmethod
    def joined(cls, parts: list["Nothing"]) -> "Nothing":
        return parts[0]


class Learning:
    """Full until one call was watched; the run asks `found_layout` after that evaluation and goes on at another level."""

    whole = False

    def __init__(self, run: Run):
        self.run = run
        self.watched: Watch | None = None
        self.sizes: Sizes | None = None

    def begin(self, moment: Moment) -> frozenset[str]:
        return self.run.kinds

    @staticmethod
    def need(about: CallContext, itemsize: int, attended: bool = False) -> Need:
        return Need()

    @staticmethod
    def flops(costs: ModelCosts, about: CallContext) -> int:
        return plain_flops(about)

    def new_cache(self, about: CallContext) -> Nothing:
        return Nothing()

    def call(self, run_model, about: CallContext, cache, account):
        if self.watched is not None:
            output = run_model()
        else:
            self.watched, self.sizes = Watch(about.model), about.sizes
            with swapped(self.watched.replacements()):
                output = run_model()
            self.watched.last = None                                # its tensors are not held beyond the call
        account(OutputCall(about, skip=False))
        return output

    def found_layout(self):
        """Of the call that was watched; None where its blocks could not be told."""
        return self.watched.layout(self.sizes) if self.watched is not None else None

    def learn(self) -> float | None:
        return None

    def restart(self):
        """Nothing is measured."""

    def forget(self):
        """Nothing was found."""

    def idle(self) -> str:
        return "No step could be skipped, since the run ended with its first step"
