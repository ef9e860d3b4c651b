"""The state of one sampling run: which step it is, what is cached for which call, what it cost.

How a call is answered is the matter of its level (`levels`).
"""

import math
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass, replace
from typing import Any

from .calls.context import CallContext, Moment
from .config import ToCaConfig
from .costs.account import Sizes
from .families.contract import ContractError
from .keep.forecast import time_of
from .keep.memory import MemoryPlan, out_of_memory, readable
from .levels import LEVELS
from .levels.base import Level, Run
from .levels.learning import Learning
from .levels.output import plain_flops
from .levels.stack import StackLevel
from .report import RunReport, StepReport
from .schedule import Cycle, NoiseLevels, Step

ANY = frozenset(("model",))             # of a model whose modules are not known: it is full, or it is not
ANOTHER = ("Another node answered in the place of the model or of one of its outer blocks, so from there on this run is plain: leave the "
           "first and the last block out of what replaces blocks, and put one cache on a model")


@dataclass(frozen=True)
class CallKey:
    """What must agree for a cached tensor to be this call's own; beside it the call's model, device, dtype and shape, and its ordinal.

    conditionings    whatever tells the conditionings of a call from those of another
    conds            how many of them are computed together
    """
    conditionings: tuple = ()
    conds: int = 1


class SamplingRun:
    """Made when a sampling run starts and dropped when it ends; nothing outlives it.

    config         the settings; of level "stack" with no layout, the model's blocks are found in the first call
    layout         where the model keeps what (`families.layout.Layout`), None where that is not known
    about          what levels are told of the run; its `config`, `cycle` and `kinds` are set here
    sigmas         the run's noise levels, descending, as numbers
    sigma_range    partial steps are allowed for sigmas in (end, start]
    flow           rectified flow, whose sigmas are shares of noise
    host_memory    what is free for the cache: has `itemsize` and `budget` (`keep.memory.MemoryPlan`)
    run_id         by which those who watch know it
    plain          why nothing is to be cached, in words; empty where something is
    """
    level: Level
    moment: Moment                                                  # this evaluation

    def __init__(self, config: ToCaConfig, layout, model, about: Run, report: RunReport, sigmas: list[float],
                 sigma_range: tuple[float, float] = (math.inf, -1.0), flow: bool = False, host_memory=None, run_id=None, plain: str = ""):
        self.id, self.layout = run_id, layout
        self.bound: dict[int, Any] = {}                             # id of a model -> its layout bound to it
        self.levels, (self.start_sigma, self.end_sigma) = NoiseLevels(sigmas), sigma_range
        self.flow, self.about, self.report, self.abandoned = flow, about, report, False
        self.memory, self.record = MemoryPlan(host_memory), about.record
        self.caches: dict[tuple, Any] = {}                          # by place
        self.last_used: dict[tuple, int] = {}
        self.ordinals: Counter[tuple] = Counter()
        self.calls: list[tuple[Sizes, int]] = []                    # (sizes, conditionings) of each call of this evaluation
        self.step: Step | None = None
        self.active = False
        self.witnessed = False                                      # whether it can be told that the model ran in a call
        self.lock = threading.Lock()                                # a multi-GPU split calls from one thread per device
        if layout is not None and config.level != "output":
            self.bind(model)
        if plain:
            self.abandoned = True
            report.remark(f"Every step is full: {plain}")
        elif config.always_full:
            report.remark("Every step is full: fresh_ratio or cycle is 1 or tolerance 0, so nothing is cached")
        self.settle(config)

    # ---- what it runs with ----

    def settle(self, config: ToCaConfig):
        """From here on the run has these settings."""
        self.config, self.cycle = config, Cycle(config)
        known = self.layout is not None and config.level != "output"
        self.kinds = frozenset(self.layout.kinds) if known else ANY
        self.about = replace(self.about, config=config, cycle=self.cycle, kinds=self.kinds, time_of=self.time_of)
        self.level = Learning(self.about) if config.level == "stack" and not known else LEVELS[config.level](self.about)
        self.full = self.kinds
        self.caches.clear()
        self.report.settings, self.report.why_level = asdict(config), self.reason()

    def reason(self) -> str:
        """Why the run has this level, in words."""
        if self.config.level == "module":
            return "each attention and MLP is known"
        if self.config.level == "stack":
            return "its blocks are known" if self.layout is not None else "its blocks are looked for in its first call"
        return "its blocks are not known, or no one residual stands for them" if self.layout is None else "as set, or for want of memory"

    def time_of(self, sigma: float) -> float:
        """The time of forecasts at a noise level."""
        return time_of(sigma, self.config.forecast_time, self.flow)

    def bind(self, model):
        """The layout applied to a model, once per device copy; None where there is none."""
        if self.layout is None:
            return None
        key = id(model)
        if key not in self.bound:
            self.bound[key] = self.layout.bind(model)
        return self.bound[key]

    @property
    def last_call(self):
        """The session of the last call at level module."""
        return getattr(self.level, "last_call", None)

    # ---- evaluation by evaluation ----

    def begin_evaluation(self, sigma: float):
        """The sampler asks for one prediction: count it and decide whether it is a full step."""
        self.learn()
        index = self.step.index + 1 if self.step else 0
        self.step = Step(index, self.levels.position(sigma), self.levels.total)
        self.active = self.end_sigma < sigma <= self.start_sigma and not (self.config.always_full or self.level.whole or self.abandoned)
        share = 1 - self.levels.following(sigma) / max(sigma, 1e-9)
        self.moment = Moment(self.step, sigma, self.time_of(sigma), share, time_of(sigma, "sigma", self.flow))
        self.full = self.level.begin(self.moment) if self.active else self.kinds
        self.ordinals.clear()
        self.calls = []
        for key in [key for key in self.caches if not self.active or self.last_used[key] < index - 1]:
            del self.caches[key]                                    # conditionings that left the run free their memory
        self.report.steps.append(StepReport(index, sigma, "plain" if not self.active else self.kind(self.full)))
        self.began = time.perf_counter()

    def learn(self):
        """What the last evaluation took and found."""
        if self.step is None:
            return
        step = self.report.steps[-1]
        step.seconds = time.perf_counter() - self.began
        if not self.calls and step.kind != "plain":
            step.kind = "other"                                     # the model was not asked
            self.abandon(ANOTHER)
        error = self.level.learn()
        if error is not None:
            step.error = error
        if isinstance(self.level, Learning) and self.level.watched is not None:
            self.learned(self.level.found_layout())

    def learned(self, layout):
        """The model's blocks were looked for in the last call: take them, or do without."""
        self.memory.budget = None                                   # what is kept from here on is asked for anew
        if layout is None:
            self.report.remark(f"{self.report.model} is not among the models known by name, and its blocks could not be told from one "
                               f"call: what it predicts is forecast instead (level output)")
            return self.settle(replace(self.config, level="output"))
        self.layout, self.bound = layout, {}
        self.report.remark(f"{self.report.model} is not among the models known by name; its blocks were found in its first call: "
                           f"{', '.join(stack.path for stack in layout.stacks)}")
        return self.settle(self.config)

    def finish(self):
        """The run is over."""
        self.learn()
        if not self.config.always_full and not self.report.calls("partial") and not self.report.note:
            self.report.remark(self.level.idle())

    def kind(self, full: frozenset[str]) -> str:
        return "full" if full == self.kinds else "partial"

    # ---- call by call ----

    def call(self, run_model, model, x, sizes, key: CallKey = CallKey(), hindered: str = "", parts=(),
             ran=lambda: True):
        """One call of the model for the conditionings that are computed together -> what run_model() answers, or what stands for it.

        x (B, C, ...) is what the model is asked about, at the noise level of this evaluation; the answer is the clean sample.
        """
        try:
            bound = self.bind(model)
        except ContractError as error:                              # another copy of the model than the one that was bound
            self.abandon(str(error))
            bound = None
        with self.lock:
            self.calls.append((sizes, key.conds))
            place = self.place(model, x, key)
            about = CallContext(self.config, self.cycle, self.moment, sizes, key.conds,
                                self.full if place in self.caches else self.kinds, bound, x, model, hindered, parts, ran)
            if self.active and place not in self.caches and (admitted := self.admit(place, about)):
                about = admitted
                self.caches[place] = self.level.new_cache(about)
            self.last_used[place] = self.moment.step.index
            cache = self.caches.get(place)
        if cache is not None:
            try:
                return self.level.call(run_model, about, cache, lambda session: self.account(x, session))
            except BaseException as error:
                with self.lock:
                    held = self.held
                    self.caches.pop(place, None)                    # half renewed: never to be read again
                    if not out_of_memory(error):
                        raise
                    self.abandon(f"Memory ran out with {readable(held)} in the cache: it was dropped, and the rest is plain")
            del cache                                               # its memory is free before the call runs again
        return self.call_plain(run_model, about)

    def call_plain(self, run_model, about: CallContext):
        self.record.call(about.x, 1.0)
        plain = plain_flops(about)
        self.report.model_calls["plain"] += 1
        self.report.flops += plain
        self.report.plain_flops += plain
        return run_model()

    def place(self, model, x, key: CallKey):
        """Which cache is a call's own."""
        agreed = (id(model), x.device, x.dtype, tuple(x.shape), key)
        self.ordinals[agreed] += 1
        return agreed, self.ordinals[agreed]

    def account(self, x, session):
        """What a call on x computed; a miss makes a partial step full."""
        report, step = self.report, self.report.steps[-1]
        with self.lock:
            if not session.entered:
                step.kind = "other"
                return self.abandon(ANOTHER)
            self.record.call(x, session.recomputed)
            report.flops += session.flops
            report.plain_flops += session.plain_flops
            report.model_calls[session.kind] += 1
            report.cache_bytes = max(report.cache_bytes, self.held)
            if session.kind == "full":
                step.kind = "full"
            else:
                step.fresh_per_block = session.fresh_per_block
                step.fresh_share = {name: round(sum(blocks) / len(blocks), 6) for name, blocks in step.fresh_per_block.items()}
        return None

    # ---- memory ----

    def admit(self, place, about: CallContext) -> CallContext | None:
        """Room for one more cache -> the call, with what the settings have become; None where there is none.

        What the first one needs, and each conditioning like it, settles what is kept.
        """
        if self.memory.budget is None:
            self.memory.open(self.config, about.x)
            self.plan(about, max(self.memory.conditionings, about.conds) / about.conds)
            about = replace(about, config=self.config, cycle=self.cycle, full=self.kinds)
        if self.abandoned:
            return None
        total = self.memory.admit(place, self.need(about), self.config, self.caches)
        if total is None:
            self.report.steps[-1].kind = "plain"
            words = f"the budget of {self.memory.limit(self.config)} holds no cache for them"
            self.report.remark(f"Some conditionings are computed plainly: {words}")
            return None
        self.report.predicted_cache_bytes = max(self.report.predicted_cache_bytes, total)
        return about

    def need(self, about: CallContext, config: ToCaConfig | None = None):
        config = config or self.config
        attended = config.level == "stack" and getattr(self.level, "attends", False)
        return self.level_of(config).need(replace(about, config=config), self.memory.itemsize, attended)

    def level_of(self, config: ToCaConfig) -> Any:
        return self.level if config.level == self.config.level else LEVELS[config.level]

    def plan(self, about: CallContext, times: float):
        """Before anything is kept: settings whose cache fits."""
        def need_of(config):
            return self.need(about, config) * times

        if isinstance(self.level, StackLevel) and self.level.attends and not self.memory.budget.holds(need_of(self.config), self.config):
            self.level.give_up("The keys and values that computing single tokens needs do not fit into the budget of "
                               f"{self.memory.limit(self.config)}, so none are computed between full steps")
        chosen, why = self.memory.choose(self.config, need_of)
        if chosen is None:
            return self.abandon(why)
        self.report.predicted_cache_bytes = need_of(chosen).total
        if chosen is not self.config:
            self.report.remark(why)
            self.settle(chosen)
            self.full = self.level.begin(self.moment)
        return None

    def abandon(self, why: str):
        """From here on the run is plain."""
        self.caches.clear()
        self.level.forget()
        self.active, self.abandoned = False, True
        if self.report.steps[-1].kind != "other":
            self.report.steps[-1].kind = "plain"
        self.report.remark(why)

    @property
    def held(self) -> int:
        return sum(cache.bytes for cache in self.caches.values())
