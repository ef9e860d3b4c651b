"""The state of one sampling run: which step it is, what is cached for which conditionings, what it cost."""

import bisect
import math
import threading
from collections import Counter
from dataclasses import asdict

import torch.nn.functional as F

from ...toca_core import memory
from ...toca_core.cache import StackCache
from ...toca_core.error_cycle import ErrorCycle
from ...toca_core.families.refresh import RefreshCache, RefreshCall
from ...toca_core.families.stack import StackCall
from ...toca_core.forecast import time_of
from ...toca_core.regions import Plan
from ...toca_core.report import RunReport, StepReport
from ...toca_core.schedule import Cycle, Step
from ...toca_core.swap import swapped
from ..models.table import layout_of

REFRESHED_ERROR = 0.5       # error of computed tokens for that of their forecast, times the noise's share (demo model: 0.45 to 0.1)


class SamplingRun:
    """Made when a sampling run starts and dropped when it ends; nothing outlives it.

    sigmas         the run's noise levels, descending, as numbers
    sigma_range    partial steps are allowed for sigmas in (end, start]
    host_memory    what is free for the cache (`memory.py`)
    flow           rectified flow, whose sigmas are shares of noise
    region         the part of the picture that counts; `refreshed` says that its tokens are computed at every step
    priority       what multiplies the scores of the picture's tokens, (b, N)
    euler          the sampler goes from prediction to prediction by Euler's step, so that a known error can be taken back
    """

    def __init__(self, settings, diffusion_model, sigmas: list[float], sigma_range: tuple[float, float], seed: int, host_memory,
                 flow=False, euler=False, region=None, refreshed=False, priority=None):
        self.layout = layout_of(diffusion_model)
        self.bound = {}
        depths = self.bind(diffusion_model).depths
        self.sigmas, self.start_sigma, self.end_sigma = sigmas, *sigma_range
        self.total = max(1, len(sigmas) - 1)
        config, self.remarks = settings.resolve(self.layout, depths, self.total)
        self.settle(config)
        self.seed, self.flow, self.euler = seed or 0, flow, euler
        self.host_memory, self.budget, self.needs, self.conditionings, self.abandoned = host_memory, None, {}, 1, False
        self.region, self.priority = region, priority
        self.found = []                                             # errors of this evaluation's forecasts, relative to the prediction
        self.caches, self.last_used, self.ordinals = {}, {}, Counter()
        self.calls = []                                             # (Sizes, conditionings) of each call of this evaluation
        self.kinds = frozenset(self.layout.kinds)
        self.step, self.full, self.active, self.last_call = None, self.kinds, False, None
        self.lock = threading.Lock()                                # a multi-GPU split calls from one thread per device
        self.report = RunReport(type(diffusion_model).__name__, settings.preset, asdict(self.config))
        if self.config.always_full:
            self.report.remark("Every step is full: fresh_ratio or cycle is 1 or tolerance 0, so nothing is cached")
        self.refreshed = refreshed and (self.config.token_mask or region.given) and self.can_refresh("mask")
        self.whole = self.refreshed and region.share == 1
        if self.whole:
            self.report.remark("Every step is full: the mask covers every token, so nothing is cached")
        self.refreshing = not self.whole and (self.refreshed or self.config.refresh_ratio > 0 and self.can_refresh("refresh_ratio"))

    def can_refresh(self, wanted: str) -> bool:
        """Whether tokens can be computed between full steps; if not, the report says why."""
        if self.errors is None and (self.region is None or self.region.given):
            self.report.remark(f"The {wanted} computes nothing here, since it needs level stack")
        elif self.errors is not None and not self.layout.refreshes:
            self.report.remark(f"{self.report.model} cannot compute single tokens between full steps, so the {wanted} computes nothing; "
                               f"full steps and what lies between them are as without it")
        return self.errors is not None and self.layout.refreshes

    def settle(self, config):
        self.config, self.cycle = config, Cycle(config)
        self.errors = ErrorCycle(config, self.cycle) if config.level == "stack" else None

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
        self.step = Step(index, self.position(sigma), self.total)
        self.active = self.end_sigma < sigma <= self.start_sigma and not (self.config.always_full or self.whole or self.abandoned)
        self.time = time_of(sigma, self.config.forecast_time, self.flow)
        self.full = self.full_kinds(sigma) if self.active else self.kinds
        self.ordinals.clear()
        self.calls = []
        for key in [key for key in self.caches if not self.active or self.last_used[key] < index - 1]:
            del self.caches[key]                                    # conditionings that left the run free their memory
        self.report.steps.append(StepReport(index, sigma, "plain" if not self.active else self.kind(self.full)))

    def learn(self):
        """What the last evaluation found: the one wait for the device, at full steps only."""
        if self.found:
            error = max(float(error) for error in self.found)
            self.errors.measured(error, REFRESHED_ERROR * self.noise if self.refreshed else 1.0)
            self.report.steps[-1].error = 100 * error
            self.found = []

    def finish(self):
        """The run is over."""
        self.learn()
        if self.errors is not None and not self.config.always_full and not self.report.calls("partial") and not self.report.note:
            self.report.note = (f"No step could be skipped: the first {self.errors.first_full} and the last are full, and between them the "
                                f"error measured was above the tolerance or there was no step to skip")
        for remark in self.remarks:
            self.report.remark(remark)

    def full_kinds(self, sigma: float) -> frozenset[str]:
        if self.errors is None:
            return self.cycle.full_kinds(self.step) & self.kinds
        self.noise = time_of(sigma, "sigma", self.flow)
        self.share = 1 - self.following(sigma) / max(sigma, 1e-9)
        return self.kinds if self.errors.is_full(self.step, self.time, self.share, self.noise) else frozenset()

    def following(self, sigma: float) -> float:
        """The next lower noise level of the run's list, 0 after the last."""
        return next((level for level in self.sigmas if level < sigma * (1 - 1e-6)), 0.0)

    def kind(self, full: frozenset[str]) -> str:
        return "full" if full == self.kinds else "partial"

    def position(self, sigma: float) -> float:
        """Where a noise level lies in the run's list, between entries where a sampler leaves the list."""
        after = bisect.bisect_left(self.sigmas, -sigma, key=lambda value: -value)      # first entry at or below sigma
        if after == 0:
            return 0
        if after == len(self.sigmas):
            return self.total
        above, below = self.sigmas[after - 1], self.sigmas[after]
        if sigma - below <= 1e-6 * above:
            return after
        return after - (sigma - below) / (above - below)

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
                if self.errors is not None:
                    return self.call_stack(call, bound, cache, sizes, conds, full)
                return self.call_modules(call, bound, cache, sizes, conds, full)
            except BaseException as error:
                with self.lock:
                    held = self.held
                    self.caches.pop(key, None)                      # half renewed: never to be read again
                    if not memory.out_of_memory(error):
                        raise
                    self.abandon(f"Memory ran out with {memory.readable(held)} in the cache: it was dropped, and the rest is plain")
            del cache                                               # its memory is free before the call runs again
        return self.call_plain(call, bound.plain_flops(sizes))

    def admit(self, key, bound, sizes, conds: int, x) -> bool:
        """Whether there is room for one more cache; what the first one needs, and each conditioning like it, settles what is kept."""
        def need(config):
            return bound.cache_need(config, sizes, conds, self.host_memory.itemsize, self.refreshing)

        if self.budget is None:
            self.budget = self.host_memory.budget(self.config.memory_budget, x.shape, x.device)
            if self.refreshing and not self.budget.holds(need(self.config) * (max(self.conditionings, conds) / conds), self.config):
                self.give_up_refresh("The keys and values that computing single tokens needs do not fit into the budget of "
                                     f"{memory.readable(self.budget.limit(self.config))}, so none are computed between full steps")
            self.plan(lambda config: need(config) * (max(self.conditionings, conds) / conds))
        if self.abandoned:
            return False
        self.needs = {held: self.needs[held] for held in self.caches}
        total = sum(self.needs.values(), start=need(self.config))
        if not self.budget.holds(total, self.config):
            words = f"the budget of {memory.readable(self.budget.limit(self.config))} holds no cache for them"
            self.report.steps[-1].kind = "plain"
            self.report.remark(f"Some conditionings are computed plainly: {words}")
            return False
        self.needs[key] = need(self.config)
        self.report.predicted_cache_bytes = max(self.report.predicted_cache_bytes, total.total)
        return True

    def plan(self, need_of):
        """Before anything is kept: settings whose cache fits."""
        chosen, why = memory.choose(self.config, need_of, self.budget)
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
        self.found, self.last_call = [], None
        self.active, self.abandoned = False, True
        self.report.steps[-1].kind = "plain"
        self.report.remark(why)

    @property
    def held(self) -> int:
        return sum(cache.bytes for cache in self.caches.values())

    def new_cache(self, bound, sizes, x, arguments: dict, options: dict):
        if self.errors is None:
            whole = self.priority is not None and self.priority.shape[1] == math.prod(sizes.grid) and x.shape[0] % len(self.priority) == 0
            return bound.new_cache(self.config, sizes, self.seed, self.priority if whole else None)
        if not self.refreshing or self.hindered(x, arguments, options):
            return StackCache(self.config)
        beside = (0, sizes.beside)                                  # reference pictures are in no region
        inside = F.pad(self.region.tokens.flatten(1), beside) if self.refreshed else None
        priority = None if self.priority is None else F.pad(self.priority, beside, value=1.0)
        return RefreshCache(self.config, Plan(self.config, sizes.tokens, inside, priority, self.seed))

    def hindered(self, x, arguments: dict, options: dict) -> bool:
        """Whether something works on the tokens of all blocks by their places in the picture; then the run does without refresh."""
        for name, given in (("a ControlNet", arguments.get("control") is not None),
                            ("an attention mask", arguments.get("attention_mask") is not None),
                            ("a patch of another node", bool(options.get("patches") or options.get("patches_replace"))),
                            ("a conditioning for a part of the picture", self.region is not None and not self.region.fits(x)),
                            ("reference pictures' own timestep", arguments.get("ref_latents_method") == "index_timestep_zero")):
            if given:
                self.give_up_refresh(f"No token was computed between full steps, since {name} wants them all")
                return True
        return False

    def give_up_refresh(self, why: str):
        self.refreshed = self.refreshing = False
        self.report.remark(why)

    def call_modules(self, call, bound, cache, sizes, conds, full):
        session = bound.call(cache, self.config, self.step, self.cycle, sizes, conds, full, self.time)
        with swapped(session.replacements()):
            output = call()
        self.last_call = session
        with self.lock:
            self.account(session)
        return output

    def call_stack(self, call, bound, cache, sizes, conds, full):
        """Skip the blocks, or run them and learn what skipping them would have given."""
        session, forecast = self.stack_call(bound, cache, sizes, skip=not full), None
        if full and cache.anchors.features and (self.config.tolerance is not None or self.repays):
            trial = StackCall(bound, cache, self.time, sizes, skip=True)
            with swapped(trial.replacements()):
                forecast = call()
            session.flops += trial.flops
        with swapped(session.replacements()):
            output = call()
        with self.lock:
            self.account(session)
            if forecast is None:
                return output
            error = forecast.sub_(output)
            self.found.append(self.relative(error, output).amax())  # the worst picture decides
        if self.refreshed and isinstance(cache, RefreshCache):
            error.mul_(1 - self.region.computed(error))             # what was computed is not in debt
        return self.repay(output, error)

    def stack_call(self, bound, cache, sizes, skip: bool):
        if not isinstance(cache, RefreshCache) or skip and not self.errors.worthwhile:
            return StackCall(bound, cache, self.time, sizes, skip)
        since = self.step.index - (self.errors.last_full or 0)
        return RefreshCall(bound, cache, self.time, sizes, skip, since, max(self.config.max_gap, self.config.cycle))

    def relative(self, error, output):
        """The error of each sample, relative to the prediction; where a region counts, inside it."""
        if self.region is None or not self.region.fits(output):
            return rms(error) / rms(output)
        inside = self.region.inside(output)
        return rms(error * inside) / rms(output * inside).clamp_min(1e-12)          # a picture of a batch may have nothing inside

    @property
    def repays(self) -> bool:
        return self.euler and self.config.repayment > 0

    def repay(self, output, error):
        """Take back what the forecasts since the last full step have put into the sample: they erred as this step's would have."""
        debt = self.errors.debt() if self.repays else 0.0
        return output.sub_(error, alpha=self.config.repayment * debt / self.share) if debt else output

    def call_plain(self, call, plain: int):
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

    def account(self, session):
        """What a call computed; a miss makes a partial step full."""
        report, step = self.report, self.report.steps[-1]
        report.flops += session.flops
        report.plain_flops += session.plain_flops
        report.model_calls[session.kind] += 1
        report.cache_bytes = max(report.cache_bytes, self.held)
        if session.kind == "full":
            step.kind = "full"
        else:
            step.fresh_per_block = session.fresh_per_block
            step.fresh_share = {name: round(sum(blocks) / len(blocks), 6) for name, blocks in step.fresh_per_block.items()}


def rms(predictions):
    """Root mean square of each sample of (B, ...) -> (B,)."""
    return predictions.float().flatten(1).square().mean(1).sqrt()
