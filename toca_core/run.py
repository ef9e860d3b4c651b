"""The state of one sampling run: which step it is, what is cached for which call, what it cost.

How a call is answered is the matter of its level (`levels`).
"""

import math
import threading
from collections.abc import Hashable
from dataclasses import asdict, replace
from typing import Any

from .ahead import Mark, NoiseLevels, StepReports
from .calls.context import CallContext
from .config import ToCaConfig
from .costs.account import Sizes
from .families.contract import ContractError
from .keep.caches import Caches, Conditioning, Group
from .keep.memory import MemoryPlan, Need, out_of_memory, readable
from .levels import LEVELS, why
from .levels.base import Level, Run
from .levels.learning import Learning
from .levels.output import plain_flops
from .levels.stack import StackLevel
from .overflow import Overflows
from .report import RunReport, StepReport
from .schedule import Cycle, Moment, Step
from .timeline import Timeline, finer

ANY = frozenset(("model",))             # of a model whose modules are not known: it is full, or it is not
ANOTHER = ("Another node answered in the place of the model, so from there on this run is plain: put one cache on a model")
MISLED = "The sampler asked about another noise level than was foretold, so what was kept until then was dropped"
REPLACED = ("Another node runs something of its own in the place of the model's first or last block, in some calls or in all: those are "
            "computed plainly")


class SamplingRun:
    """Made when a sampling run starts and dropped when it ends; nothing outlives it.

    config         the settings; of level "stack" with no layout, the model's blocks are found in the first call
    layout         where the model keeps what (`families.layout.Layout`), None where that is not known
    about          what levels are told of the run; its `config`, `cycle` and `kinds` are set here
    sigmas         the run's noise levels, descending, as numbers; the sampler is to be given those of `timeline`
    sigma_range    partial steps are allowed for sigmas in (end, start]
    flow           rectified flow, whose sigmas are shares of noise
    host_memory    what is free for the cache: has `itemsize` and `budget` (`keep.memory.MemoryPlan`)
    run_id         by which those who watch know it
    plain          why nothing is to be cached, in words; empty where something is
    bound          the layout applied to the model, where that was done already
    """
    level: Level
    moment: Moment                                                  # this evaluation

    def __init__(self, config: ToCaConfig, layout, model, about: Run, report: RunReport, sigmas: list[float],
                 sigma_range: tuple[float, float] = (math.inf, -1.0), flow: bool = False, host_memory=None, run_id=None, plain: str = "",
                 bound=None):
        self.id, self.layout = run_id, layout
        self.bound: dict[int, Any] = {} if bound is None else {id(model): bound}    # id of a model -> its layout bound to it
        self.about, self.report, self.abandoned = about, report, False
        if config.refine > 1 and (reason := self.unrefined(config)):
            report.remark(f"refine is {config.refine}, and {reason}: the steps are taken as they are")
            config = replace(config, refine=1)
        self.timeline = Timeline(finer(sigmas, config.refine), sigma_range, flow)
        self.memory, self.record = MemoryPlan(host_memory), about.record
        self.caches = Caches()
        self.overflows, self.step_reports, self.noise_levels = Overflows(), StepReports(), NoiseLevels()
        self.replaced: set[Hashable] = set()                        # members whose calls run other blocks than the model's own
        self.opened = 0                                             # evaluation in which the first cache was made
        self.changed: list[int] = []                                # evaluations before which something new went into the model
        self.kinds_of_calls: set[str] = set()                       # of this evaluation
        self.calls: list[tuple[Sizes, int]] = []                    # (sizes, conditionings) of each call of this evaluation
        self.step: Step | None = None
        self.active = self.witnessed = False                        # witnessed: whether it can be told that the model ran in a call
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
        self.about = replace(self.about, config=config, cycle=self.cycle, kinds=self.kinds,
                             time_of=lambda sigma: self.timeline.time(sigma))
        self.level = Learning(self.about) if config.level == "stack" and not known else LEVELS[config.level](self.about)
        self.full = self.kinds
        self.caches.clear()
        self.report.settings, self.report.why_level = asdict(config), why(config.level, self.layout is not None, self.report.preset)

    def unrefined(self, config: ToCaConfig) -> str:
        """Why steps cannot be followed in parts, in words; empty where they can."""
        return self.about.unrefined or ("" if config.level == "output" else f"level {config.level} forecasts no prediction")

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

    def begin_evaluation(self, sigma: float, device=None):
        """The sampler asks for one prediction: count it and decide whether it is a full step. device: where it will be computed."""
        self.learn(began := Mark(device))
        index, sigma = self.step.index + 1 if self.step else 0, self.timeline.settled(sigma)
        self.moment = self.timeline.moment(index, sigma, self.config)
        self.step = self.moment.step
        self.active = self.timeline.open(sigma) and not (self.config.always_full or self.level.whole or self.abandoned)
        if self.config.counted and self.active:
            self.moment = self.timeline.counted(self.moment, self.config, self.report.calls("full") + self.report.calls("plain"))
        self.full = self.level.begin(self.moment) if self.active else self.kinds
        self.calls, self.kinds_of_calls, self.began = [], set(), began
        rose = self.timeline.rose(self.step) and self.active
        if rose:
            self.changed.append(index)
        if misled := self.noise_levels.came_otherwise():
            self.report.remark(MISLED)
        if rose or misled or not self.active:
            self.caches.clear()
        self.caches.begin(index)
        self.report.steps.append(StepReport(index, sigma, "plain" if not self.active else self.kind(self.full)))

    def learn(self, ended: Mark):
        """What the last evaluation took and found."""
        if self.step is None:
            return
        step = self.report.steps[-1]
        if not self.calls and step.kind != "plain":
            step.kind = "other"                                     # the model was not asked
            self.abandon(ANOTHER)
        elif step.kind != "other":                                  # full is what computed everything
            step.kind = next((kind for kind in ("partial", "full", "plain") if kind in self.kinds_of_calls), step.kind)
        self.step_reports.add(step, self.began, ended, self.level.learn())
        if isinstance(self.level, Learning) and self.level.watched is not None:
            self.learned(self.level.found_layout())
        if misfit := getattr(self.level, "misfit", ""):
            self.memory.budget = None
            self.report.remark(f"The entry of {self.report.model} does not fit what its blocks do ({misfit}): what it predicts is forecast "
                               f"instead (level output)")
            self.settle(replace(self.config, level="output"))

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
        self.learn(Mark(self.began.device if self.step else None))
        self.step_reports.write(every=True)
        if self.changed:
            steps = ", ".join(str(index + 1) for index in self.changed[:8]) + (", ..." if len(self.changed) > 8 else "")
            self.report.remark(f"What goes into the model changed at step {steps} (a prompt, a reference, a LoRA's strength, a ControlNet, "
                               f"a patch or new noise), so it was computed in full there")
        if self.caches.regrouped and self.config.level == "module" and self.config.score != "self_attn":
            self.report.remark("Memory was tight, so conditionings were computed together at some steps and apart at others, where each "
                               "chose its fresh tokens by itself: with more room the picture differs a little")
        for sentence in self.overflows.sentences():
            self.report.remark(sentence)
        if not self.config.always_full and not self.report.calls("partial") and not self.report.note:
            self.report.remark(self.level.idle())

    def kind(self, full: frozenset[str]) -> str:
        return "full" if full == self.kinds else "partial"

    # ---- call by call ----

    def call(self, run_model, model, x, sizes, conditionings: tuple[Conditioning, ...] = (), hindered: str = "", parts=(),
             ran=lambda: True):
        """One call of the model for the conditionings that are computed together -> what run_model() answers, or what stands for it.

        x (B, C, ...) is what the model is asked about, at the noise level of this evaluation; the answer is the clean sample.
        """
        try:
            bound = self.bind(model)
        except ContractError as error:                              # another copy of the model than the one that was bound
            self.abandon(str(error))
            bound = None
        conditionings = conditionings or (Conditioning(),)
        conds = len(conditionings)
        with self.lock:
            self.calls.append((sizes, conds))
            group, cached = self.known(model, x, sizes, conditionings)
            about = CallContext(self.config, self.cycle, self.moment, sizes, conds, self.full if cached else self.kinds, bound, x=x,
                                model=model, hindered=hindered, parts=parts, ran=ran, linear=self.about.linear)
            if self.active and not cached and self.replaced.isdisjoint(group):
                about = self.admit(group, about) or about
        output = self.answer(run_model, about, group)
        self.overflows.saw(self.moment.step.index, output, conds)
        return output

    def known(self, model, x, sizes: Sizes, conditionings: tuple[Conditioning, ...]) -> tuple[Group, bool]:
        """-> (the group of a call, whether there is a cache that holds for it)."""
        one = (x.shape[0] // len(conditionings), *x.shape[1:])
        agreed = (id(model), x.device, x.dtype, one, sizes.grid, sizes.beside, sizes.joined)
        group, changed = self.caches.members(agreed, conditionings, self.moment.step.index)
        if changed and self.active:
            self.caches.drop_members(group)
            self.replaced.difference_update(group)
            if self.moment.step.index not in self.changed:
                self.changed.append(self.moment.step.index)
        return group, self.active and self.caches.find(group) is not None

    def answer(self, run_model, about: CallContext, group: Group):
        """By the level, where there is a cache; else plainly."""
        with self.lock:
            cache = self.caches.find(group) if self.active else None
        if cache is not None:
            try:
                return self.level.call(about.counting(run_model), about, cache, lambda session: self.account(about, group, session))
            except BaseException as error:
                with self.lock:
                    held = self.caches.bytes
                    self.caches.drop(group)                         # half renewed: never to be read again
                    if not (out_of_memory(error) and self.about.together.alone):    # the others would wait for this call
                        raise
                    self.abandon(f"Memory ran out with {readable(held)} in the cache: it was dropped, and the rest is plain")
            del cache                                               # its memory is free before the call runs again
        return self.call_plain(run_model, about)

    def call_plain(self, run_model, about: CallContext):
        self.count_plain(about)
        return run_model()

    def count_plain(self, about: CallContext):
        self.record.call(about.x, 1.0)
        flops = plain_flops(about)
        self.count("plain", flops, flops)

    def count(self, kind: str, flops: int, plain: int):
        self.kinds_of_calls.add(kind)
        self.report.model_calls[kind] += 1
        self.report.flops += flops
        self.report.plain_flops += round(plain / self.config.refine)        # without it a step has but one part

    def account(self, about: CallContext, group: Group, session):
        """What a call computed."""
        report, step = self.report, self.report.steps[-1]
        with self.lock:
            if not session.entered:
                return self.missed(about, group)
            self.record.call(about.x, session.recomputed)
            self.count(session.kind, session.flops, session.plain_flops)
            report.cache_bytes = max(report.cache_bytes, self.caches.bytes)
            if session.kind == "partial":
                step.fresh_per_block = session.fresh_per_block
                step.fresh_share = {name: round(sum(blocks) / len(blocks), 6) for name, blocks in step.fresh_per_block.items()}
        return None

    def missed(self, about: CallContext, group: Group):
        """The blocks were not reached: another node stands in for one of them, or for the whole model."""
        if not about.ran():
            self.report.steps[-1].kind = "other"
            return self.abandon(ANOTHER)
        self.replaced.update(group)
        self.caches.drop(group)
        self.report.remark(REPLACED)
        return self.count_plain(about)

    # ---- memory ----

    def admit(self, group: Group, about: CallContext) -> CallContext | None:
        """Room for one more cache, which is made -> the call, with what the settings have become; None where there is none.

        What the first one needs, and each conditioning like it, settles what is kept.
        """
        if self.memory.budget is None:
            self.opened = self.moment.step.index
            self.memory.open(self.config, about.x, self.about.together)
            self.plan(about, max(self.memory.conditionings, about.conds) / about.conds)
            about = replace(about, config=self.config, cycle=self.cycle, full=self.kinds)
        elif self.moment.step.index > self.opened:
            self.level.restart()                                    # what was measured of the others says nothing of this one
        if self.abandoned:
            return None
        need = self.need(about)
        total = self.caches.needs + need
        if not self.memory.budget.holds(total, self.config):
            self.report.remark(f"Some conditionings are computed plainly: the budget of {self.memory.limit(self.config)} holds no cache "
                               f"for them")
            return None
        self.caches.put(group, self.level.new_cache(about), need)
        self.report.predicted_cache_bytes = max(self.report.predicted_cache_bytes, total.total)
        return about

    def foreseen(self, sizes: Sizes, conditionings: int) -> Need:
        """What the caches of calls on `sizes`, one for each conditioning, will take at most."""
        bound = next(iter(self.bound.values()), None)
        if self.abandoned or self.config.always_full or bound is None and self.config.level != "output":
            return Need()
        about = CallContext(self.config, self.cycle, Moment(Step(0, 0, self.timeline.levels.total)), sizes, full=self.kinds, bound=bound,
                            linear=self.about.linear)
        return self.need(about) * conditionings

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
