"""The state of one sampling run: which step it is, what is cached for which conditionings, what it cost."""

import math
import threading
import time
from collections import Counter
from dataclasses import asdict
from functools import partial

from ...toca_core.forecast import time_of
from ...toca_core.memory import out_of_memory, readable
from ...toca_core.report import RunReport, StepReport
from ...toca_core.schedule import Cycle, NoiseLevels, Step
from ...toca_core.swap import swapped
from ..models.table import layout_of
from .memory import MemoryPlan
from .refresh import Refresh
from .stack_steps import StackSteps


class SamplingRun:
    """Made when a sampling run starts and dropped when it ends; nothing outlives it.

    sigmas         the run's noise levels, descending, as numbers
    sigma_range    partial steps are allowed for sigmas in (end, start]
    host_memory    what is free for the cache (`memory.py`)
    record         what happens to single tokens (`toca_core/recording.py`)
    flow           rectified flow, whose sigmas are shares of noise
    euler          of the sampler (`stack_steps.py`)
    region, refreshed, priority    of the picture (`refresh.py`)
    run_id         by which those who watch know it (`run_log.py`)
    """

    def __init__(self, settings, diffusion_model, sigmas: list[float], sigma_range: tuple[float, float], seed: int, host_memory, record,
                 flow=False, euler=False, region=None, refreshed=False, priority=None, run_id=None):
        self.id = run_id
        self.layout = layout_of(diffusion_model)
        self.bound = {}
        depths = self.bind(diffusion_model).depths
        self.levels, (self.start_sigma, self.end_sigma) = NoiseLevels(sigmas), sigma_range
        config, self.remarks = settings.resolve(self.layout, depths, self.levels.total)
        self.seed, self.flow, self.euler, self.priority = seed or 0, flow, euler, priority
        self.memory, self.record, self.abandoned = MemoryPlan(host_memory), record, False
        self.caches, self.last_used, self.ordinals = {}, {}, Counter()
        self.calls = []                                             # (Sizes, conditionings) of each call of this evaluation
        self.kinds = frozenset(self.layout.kinds)
        self.step, self.full, self.active, self.last_call = None, self.kinds, False, None
        self.lock = threading.Lock()                                # a multi-GPU split calls from one thread per device
        self.report = RunReport(type(diffusion_model).__name__, settings.preset, asdict(config))
        if config.always_full:
            self.report.remark("Every step is full: fresh_ratio or cycle is 1 or tolerance 0, so nothing is cached")
        self.refresh = Refresh(config, self.layout, region, refreshed, priority, self.seed, self.report)
        self.settle(config)

    def settle(self, config):
        self.config, self.cycle = config, Cycle(config)
        self.stack = StackSteps(config, self.cycle, self.refresh, self.record, self.euler) if config.level == "stack" else None

    def bind(self, diffusion_model):
        """The layout applied to a model, once per device copy."""
        key = id(diffusion_model)
        if key not in self.bound:
            self.bound[key] = self.layout.bind(diffusion_model)
        return self.bound[key]

    def begin_evaluation(self, sigma: float):
        """The sampler asks for one prediction: count it and decide whether it is a full step."""
        self.learn()
        index = self.step.index + 1 if self.step else 0
        self.step = Step(index, self.levels.position(sigma), self.levels.total)
        self.active = self.end_sigma < sigma <= self.start_sigma and not (self.config.always_full or self.refresh.whole or self.abandoned)
        self.time = time_of(sigma, self.config.forecast_time, self.flow)
        self.full = self.full_kinds(sigma) if self.active else self.kinds
        self.ordinals.clear()
        self.calls = []
        for key in [key for key in self.caches if not self.active or self.last_used[key] < index - 1]:
            del self.caches[key]                                    # conditionings that left the run free their memory
        self.report.steps.append(StepReport(index, sigma, "plain" if not self.active else self.kind(self.full)))
        self.began = time.perf_counter()

    def learn(self):
        """What the last evaluation took and found."""
        if self.step is not None:
            self.report.steps[-1].seconds = time.perf_counter() - self.began
        error = self.stack.learn() if self.stack is not None else None
        if error is not None:
            self.report.steps[-1].error = error

    def finish(self):
        """The run is over."""
        self.learn()
        if self.stack is not None and not self.config.always_full and not self.report.calls("partial") and not self.report.note:
            self.report.note = (f"No step could be skipped: the first {self.stack.errors.first_full} and the last are full, and between "
                                f"them the error measured was above the tolerance or there was no step to skip")
        for remark in self.remarks:
            self.report.remark(remark)

    def full_kinds(self, sigma: float) -> frozenset[str]:
        if self.stack is None:
            return self.cycle.full_kinds(self.step) & self.kinds
        share = 1 - self.levels.following(sigma) / max(sigma, 1e-9)
        return self.kinds if self.stack.is_full(self.step, self.time, share, time_of(sigma, "sigma", self.flow)) else frozenset()

    def kind(self, full: frozenset[str]) -> str:
        return "full" if full == self.kinds else "partial"

    def call_model(self, call, diffusion_model, x, context, options: dict, arguments: dict):
        """One call of the diffusion model for the conditionings that the host batched together.

        arguments: whatever else the host passes to the model.
        """
        diffusion_model = getattr(diffusion_model, "_orig_mod", diffusion_model)                # torch.compile's shell
        bound = self.bind(diffusion_model)
        conds = len(options.get("cond_or_uncond", (0,)))
        sizes = self.layout.sizes(diffusion_model, x, context, arguments)
        with self.lock:
            self.calls.append((sizes, conds))
            key = self.key(diffusion_model, x, context, options)
            full = self.full if key in self.caches else self.kinds
            if self.active and key not in self.caches and self.admit(key, bound, sizes, conds, x):
                self.caches[key] = self.new_cache(bound, sizes, x, arguments, options)
            self.last_used[key] = self.step.index
            cache = self.caches.get(key)
        if cache is not None:
            try:
                if self.stack is not None:
                    return self.stack.call(call, bound, cache, sizes, not full, partial(self.account, x))
                return self.call_modules(call, bound, cache, sizes, conds, full, x)
            except BaseException as error:
                with self.lock:
                    held = self.held
                    self.caches.pop(key, None)                      # half renewed: never to be read again
                    if not out_of_memory(error):
                        raise
                    self.abandon(f"Memory ran out with {readable(held)} in the cache: it was dropped, and the rest is plain")
            del cache                                               # its memory is free before the call runs again
        return self.call_plain(call, bound.plain_flops(sizes), x)

    def admit(self, key, bound, sizes, conds: int, x) -> bool:
        """Whether there is room for one more cache; what the first one needs, and each conditioning like it, settles what is kept."""
        def need(config):
            return bound.cache_need(config, sizes, conds, self.memory.host.itemsize, self.refresh.active)

        if self.memory.budget is None:
            self.memory.open(self.config, x)
            self.plan(lambda config: need(config) * (max(self.memory.conditionings, conds) / conds))
        if self.abandoned:
            return False
        total = self.memory.admit(key, need(self.config), self.config, self.caches)
        if not total:
            self.report.steps[-1].kind = "plain"
            words = f"the budget of {self.memory.limit(self.config)} holds no cache for them"
            self.report.remark(f"Some conditionings are computed plainly: {words}")
            return False
        self.report.predicted_cache_bytes = max(self.report.predicted_cache_bytes, total)
        return True

    def plan(self, need_of):
        """Before anything is kept: settings whose cache fits."""
        if self.refresh.active and not self.memory.budget.holds(need_of(self.config), self.config):
            self.refresh.give_up("The keys and values that computing single tokens needs do not fit into the budget of "
                                 f"{self.memory.limit(self.config)}, so none are computed between full steps")
        chosen, why = self.memory.choose(self.config, need_of)
        if chosen is None:
            return self.abandon(why)
        self.report.predicted_cache_bytes = need_of(chosen).total
        if chosen is not self.config:
            self.report.remark(why)
            self.settle(chosen)
            self.report.settings = asdict(chosen)
            self.full = self.full_kinds(self.report.steps[-1].sigma)
        return None

    def abandon(self, why: str):
        """From here on the run is plain."""
        self.caches.clear()
        if self.stack is not None:
            self.stack.found = []
        self.last_call, self.active, self.abandoned = None, False, True
        self.report.steps[-1].kind = "plain"
        self.report.remark(why)

    @property
    def held(self) -> int:
        return sum(cache.bytes for cache in self.caches.values())

    def new_cache(self, bound, sizes, x, arguments: dict, options: dict):
        if self.stack is not None:
            return self.refresh.new_cache(self.config, sizes, x, arguments, options)
        whole = self.priority is not None and self.priority.shape[1] == math.prod(sizes.grid) and x.shape[0] % len(self.priority) == 0
        return bound.new_cache(self.config, sizes, self.seed, self.priority if whole else None)

    def call_modules(self, call, bound, cache, sizes, conds, full, x):
        session = bound.call(cache, self.config, self.step, self.cycle, sizes, conds, full, self.time)
        with swapped(session.replacements()):
            output = call()
        self.last_call = session
        self.account(x, session)
        return output

    def call_plain(self, call, plain: int, x):
        self.record.call(x, 1.0)
        self.report.model_calls["plain"] += 1
        self.report.flops += plain
        self.report.plain_flops += plain
        return call()

    def key(self, diffusion_model, x, context, options):
        """What must agree for a cached tensor to be this call's own."""
        window = options.get("context_window")
        window = None if window is None else tuple(window.index_list)
        key = (id(diffusion_model), x.device, x.dtype, tuple(x.shape), None if context is None else tuple(context.shape),
               tuple(options.get("uuids", ())), tuple(options.get("cond_or_uncond", ())), window)
        self.ordinals[key] += 1
        return key, self.ordinals[key]

    def account(self, x, session):
        """What a call on x computed; a miss makes a partial step full."""
        report, step = self.report, self.report.steps[-1]
        with self.lock:
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
