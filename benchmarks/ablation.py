"""Ours with one thing changed at a time: what each part of it is worth.

Most changes are settings. What is no setting of the pack is changed here, in the run that has just begun.
"""

import math
import statistics
from collections.abc import Callable
from dataclasses import fields, replace
from functools import partial

import numpy as np
import torch

from tools.pack import load_host, pack_module

load_host(cpu=not torch.cuda.is_available())
from comfy.patcher_extension import WrappersMP

from benchmarks.variants import OUTPUT, Variant, setting_of, toca

presets, published, seam, schedule, forecast = (pack_module(name) for name in (
    "toca_core.presets", "toca_core.published", "nodes.host.seam", "toca_core.schedule", "toca_core.keep.forecast"))

KEY = "ablation"
TOLERANCES = (0.2, 0.4)
REFRESHED = 0.1                     # share of tokens computed between full steps
FIXED = {"tolerance": None, "cycle_rule": "fixed"}
FIXED_CYCLES = ("cycle", (2, 3))
TOLERANCE = ("tolerance", TOLERANCES)
REFINED = ("calls", (12, 15, 20))
CHEBYSHEV_ANCHORS, CHEBYSHEV_RIDGE = 4, 0.1
EULER = "euler"                     # over whose steps known errors are taken back


# ---- changes to a run that is about to begin ----


class AnyOther(schedule.Moment):
    """An evaluation that is never the last that matters."""
    last = False


def last_as_any_other(run):
    """The last step that matters is full only where the error asks for it."""
    errors = run.level.errors
    due = errors.due
    errors.due = lambda moment: due(AnyOther(**{one.name: getattr(moment, one.name) for one in fields(moment)}))


def very_last_full(run):
    """The last step is full too where next to no noise is left."""
    errors = run.level.errors
    due = errors.due
    errors.due = lambda moment: due(moment) or moment.step.index == moment.step.total - 1


def trust_over(axes: tuple[int, ...], run):
    """The trust is one factor for the axes of a feature (B, N, C) that it is measured over; () stands for one for each element."""
    def change(anchors):
        anchors.learn = partial(learn, anchors, axes)
    on_anchors(run, change)


def on_anchors(run, change: Callable):
    """change(anchors) of every cache that the run makes."""
    new_cache = run.level.new_cache

    def made(about):
        cache = new_cache(about)
        for anchors in getattr(cache, "parts", None) or [cache.anchors]:
            change(anchors)
        return cache
    run.level.new_cache = made


def learn(anchors, axes: tuple[int, ...], truth, time: float):
    """As `Anchors.learn`, over other axes."""
    newest = anchors.newest()
    change = anchors.change(((time, 1.0),), newest)
    if change is None:
        return
    followed, size = change * (truth - newest), change.square()
    if axes:
        followed, size = (part.sum(axes, keepdim=True).expand_as(change) for part in (followed, size))
    factor = (followed / size.clamp_min(1e-12)).clamp(*forecast.TRUST_RANGE)
    anchors.trust = factor if anchors.trust is None else torch.lerp(factor, anchors.trust, forecast.TRUST_MEMORY)


def newest_error(run):
    """The next forecasts are expected to err as the newest did."""
    run.level.errors.to_come = lambda newest: newest


def mean_of_errors(run):
    """Or as all so far did, in the geometric mean."""
    errors = run.level.errors
    to_come = errors.to_come

    def mean(newest):
        to_come(newest)
        return math.exp(statistics.fmean(errors.rates)) if errors.rates else newest
    errors.to_come = mean


def in_sigma(run):
    """Forecasts go on in the noise's share, not in log-SNR."""
    run.timeline.time = lambda sigma: forecast.noise_share(sigma, run.timeline.flow)


def smooth_fit(run):
    """What is kept goes on along a ridge regression on Chebyshev polynomials (Spectrum, 2026), not along a line through two anchors."""
    def change(anchors):
        anchors.weights, anchors.keep = chebyshev_weights, CHEBYSHEV_ANCHORS
    on_anchors(run, change)


def straight(run):
    """What is kept goes on along the line through two anchors: not bent, and all of it where new noise comes at every step."""
    on_anchors(run, lambda anchors: setattr(anchors, "weights", forecast.taylor_weights))


def chebyshev_weights(anchors: list[float], now: float, order: int) -> list[float]:
    """What each anchor, newest first, weighs in a fit up to `order` that is held to the newest of them, read at `now`."""
    nodes = np.array(anchors[:CHEBYSHEV_ANCHORS])
    low, high = min(nodes.min(), now), max(nodes.max(), now)
    basis = np.polynomial.chebyshev.chebvander(2 * (np.append(nodes, now) - low) / (high - low) - 1, order)[:, 1:]
    basis -= basis[0]                                               # changes since the newest anchor
    fit = basis[-1] @ np.linalg.solve(basis[:-1].T @ basis[:-1] + CHEBYSHEV_RIDGE * np.eye(order), basis[:-1].T)
    return [1 - fit[1:].sum(), *fit[1:]]


def repaid(run):
    """Errors are taken back over this sampler too, as if it went on by Euler's step."""
    run.about.linear = True


# name -> (what differs from ours at level stack, the knob of its curve and its values, what is changed in the run)
STACK = {
    "fixed cycle": (FIXED, FIXED_CYCLES, None),
    "no trust": ({"trust": False}, TOLERANCE, None),
    "trust per element": ({}, TOLERANCE, partial(trust_over, ())),
    "trust per channel": ({}, TOLERANCE, partial(trust_over, (1,))),
    "no repayment": ({"repayment": 0.0}, TOLERANCE, None),
    "forecast in sigma": ({}, TOLERANCE, in_sigma),
    "order 0": ({"order": 0}, TOLERANCE, None),
    "order 2": ({"order": 2}, TOLERANCE, None),
    "smooth fit": ({}, TOLERANCE, smooth_fit),
    "newest error": ({}, TOLERANCE, newest_error),
    "token refresh": ({"refresh_ratio": REFRESHED}, TOLERANCE, None),
    "token refresh, random": ({"refresh_ratio": REFRESHED, "refresh": "random"}, TOLERANCE, None),
    "modules forecast, fixed cycle": ({**FIXED, "level": "module", "stale_tokens": "forecast"}, FIXED_CYCLES, None),
}
# The same of level output. What it keeps are single numbers, so that its trust is one for each.
OUTPUTS = {
    "fixed cycle": (FIXED, FIXED_CYCLES, None),
    "trust per element": ({"trust": True}, TOLERANCE, None),
    "no repayment": ({"repayment": 0.0}, TOLERANCE, None),
    "straight line": ({}, TOLERANCE, straight),
    "newest error": ({}, TOLERANCE, newest_error),
    "mean of the errors": ({}, TOLERANCE, mean_of_errors),
    "last step as any other": ({}, TOLERANCE, last_as_any_other),
    "very last step full": ({}, TOLERANCE, very_last_full),
    "forecast in sigma": ({}, TOLERANCE, in_sigma),
    "order 0": ({"order": 0}, TOLERANCE, None),
    "order 2": ({"order": 2}, TOLERANCE, None),
    **{f"refine {parts}": ({"refine": parts}, REFINED, None) for parts in (1, 2, 4, 8)},
}
OTHER_SAMPLERS = {"repayment as over euler": ({}, TOLERANCE, repaid)}             # in place of none


def ablations(sampler: str, steps: int, paper: Callable = published.dit) -> list[Variant]:
    """Every curve of this sampler; over others than Euler's none is refined or without repayment, as ours is without both."""
    auto, found = presets.auto(steps, base=paper(steps)), []
    for prefix, level, table in (("", {}, STACK), ("output, ", OUTPUT, OUTPUTS)):
        for name, (changes, (knob, values), change) in rows_of(table, sampler).items():
            for value in values:
                config = replace(auto, **{**level, **changes, knob: value})
                found.append(Variant("ablation", prefix + name, setting_of(knob, value, auto, config.level), sampler, steps,
                                     changed(config, change)))
    return found


def rows_of(table: dict, sampler: str) -> dict:
    if sampler == EULER:
        return table
    euler_only = ("repayment", "refine")
    return {**{name: row for name, row in table.items() if not any(word in row[0] for word in euler_only)}, **OTHER_SAMPLERS}


def changed(config, change: Callable | None = None) -> Callable:
    """Settings of ToCa Cache, and what is done to a run of it -> what puts both on a MODEL."""
    def prepare(model):
        model = toca(config)(model)
        if change is not None:
            model.add_wrapper_with_key(WrappersMP.SAMPLER_SAMPLE, KEY, partial(sampler_sample, change))
        return model
    return prepare


def sampler_sample(change, executor, guider, sigmas, extra_args, *args, **kwargs):
    change(extra_args["model_options"]["transformer_options"][seam.KEY])
    return executor(guider, sigmas, extra_args, *args, **kwargs)
