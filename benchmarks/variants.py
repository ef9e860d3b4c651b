"""What the quality bench compares: plain sampling with fewer steps, the host's own caches, published ToCa, and ours."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from tools.pack import load_host, pack_module

load_host(cpu=not torch.cuda.is_available())
from comfy_extras.nodes_easycache import EasyCacheNode, LazyCacheNode

presets, published, seam, settings = (
    pack_module(name) for name in ("toca_core.presets", "toca_core.published", "nodes.host.seam", "nodes.host.settings"))

SOLVERS = ("dpmpp_2m", "res_multistep", "uni_pc")                   # second order, one call a step
SCHEDULER = "normal"                # as in the demo's workflows
EVEN = "simple"                     # of rectified flow: noise levels at equal distances
SCHEDULES = (EVEN, "beta", "sgm_uniform")                           # on which solvers are tried too
SHARES = (0.6, 0.5, 0.4, 1 / 3)                # of the reference's steps
THRESHOLDS = (0.05, 0.1, 0.2, 1.0)
CACHE_RANGE = (0.15, 0.95)                                          # of the run in which both nodes skip by default
HOST_CACHES = {"EasyCache": (EasyCacheNode, CACHE_RANGE), "EasyCache, whole run": (EasyCacheNode, (0.0, 1.0)),
               "LazyCache": (LazyCacheNode, CACHE_RANGE)}
CYCLES = (3, 5)
PUBLISHED = {"ToCa, published": {}, "ToCa, random tokens": {"score": "random"}, "ToCa, no refresh": {"fresh_ratio": 0.0}}

QUICK = {"solver": slice(1, None, 2), **dict.fromkeys(("cache", "ours", "refined"), slice(0, None, 2))}     # from below to above 2x to 3x
CALLS = (8, 9, 10, 12, 15, 18)
REFINED_CALLS = (10, 12, 15, 20, 27, 30)
TOLERANCES = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8, 1.2)
OUTPUT = {"level": "output", "trust": "output" in presets.TRUSTED}


@dataclass(frozen=True)
class Variant:
    """One point of one curve.

    kind       "plain", "solver" (fewer steps), "cache", "rival" (`rivals`), "ours", "refined" (ours over finer steps), "ablation"
               (`ablation`) or "truth"
    family     the curve it belongs to; `setting` is what tells it from the others of its family
    prepare    MODEL -> the MODEL that is sampled with
    """
    kind: str
    family: str
    setting: str
    sampler: str
    steps: int
    prepare: Callable = lambda model: model
    scheduler: str = SCHEDULER


TRUTH = Variant("truth", "truth", "100 even steps", "ipndm", 100, scheduler=EVEN)
SECOND_TRUTH = Variant("truth", "truth", "100 even steps", "heun", 100, scheduler=EVEN)


def plain(sampler: str, steps: int) -> Variant:
    return Variant("plain", "plain", f"{steps} steps", sampler, steps)


def all_variants(sampler: str, steps: int, quick: bool, paper: Callable = published.dit) -> list[Variant]:
    """What is measured against `steps` steps of a sampler; quick: only a few of each; paper: steps -> the published settings."""
    variants = [*fewer_steps(sampler, steps), *host_caches(sampler, steps), *as_published(sampler, steps, paper),
                *own_variants(sampler, steps, paper)]
    return thinned(variants) if quick else variants


def thinned(variants: list[Variant]) -> list[Variant]:
    """Of each curve the points in `QUICK`."""
    families = {}
    for variant in variants:
        families.setdefault((variant.kind, variant.family), []).append(variant)
    return [variant for (kind, _), members in families.items() for variant in members[QUICK[kind]]]


def fewer_steps(sampler: str, steps: int) -> list[Variant]:
    """On the plain run's schedule, and on others."""
    counts = dict.fromkeys((*(round(steps * share) for share in SHARES), steps))
    return [Variant("solver", f"{name}, {'fewer steps' if schedule == SCHEDULER else schedule}", f"{count} steps", name, count,
                    scheduler=schedule)
            for schedule in (SCHEDULER, *SCHEDULES) for name in dict.fromkeys((sampler, *SOLVERS)) for count in counts
            if (name, schedule, count) != (sampler, SCHEDULER, steps)]


def host_caches(sampler: str, steps: int) -> list[Variant]:
    def prepare(node, span, threshold):
        return lambda model: node.execute(model, threshold, *span, False).args[0]
    return [Variant("cache", name, f"threshold {threshold:g}", sampler, steps, prepare(node, span, threshold))
            for name, (node, span) in HOST_CACHES.items() for threshold in THRESHOLDS]


def toca(config):
    """Settings of ToCa Cache -> what puts it on a MODEL, without a log line."""
    return lambda model: seam.install(model, settings.Settings("custom", config), lambda report: None)


def as_published(sampler: str, steps: int, paper: Callable = published.dit) -> list[Variant]:
    """The paper's settings over its cycle N, and the same with random tokens and with none."""
    return [Variant("cache", name, f"N = {cycle}", sampler, steps, toca(replace(paper(steps), cycle=cycle, **changes)))
            for name, changes in PUBLISHED.items() for cycle in CYCLES]


def own_variants(sampler: str, steps: int, paper: Callable = published.dit) -> list[Variant]:
    """Levels stack and output over the tolerance of preset auto, and level output over numbers of calls."""
    auto = presets.auto(steps, base=paper(steps))
    few = range(2, steps + 1) if steps < presets.SHORT_RUN else ()
    rows = [("ours", "ours", {}, "tolerance", TOLERANCES), ("ours", "ours, level output", OUTPUT, "tolerance", TOLERANCES),
            ("ours", "ours, calls", OUTPUT, "calls", [count for count in few or CALLS if count < steps]),
            ("refined", "ours, refined", {**OUTPUT, "refine": presets.FOLLOWED}, "calls",
             [count for count in few or REFINED_CALLS if count <= steps])]
    return [Variant(kind, family, setting_of(knob, value, auto, changes.get("level", auto.level)), sampler, steps,
                    toca(replace(auto, **{**changes, knob: value})))
            for kind, family, changes, knob, values in rows for value in values]


def setting_of(knob: str, value: float, auto, level: str) -> str:
    chosen = knob == "tolerance" and value == auto.tolerance
    return f"{knob} {value:g}" + (" (auto)" if chosen and level == presets.level_for(("stack", "output")) else "")
