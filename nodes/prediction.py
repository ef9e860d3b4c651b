"""What the ratio chart is told: which modules a model has, and what a run with given widgets would cost."""

from dataclasses import dataclass, replace

from ..toca_core.checks import ConfigError, cut, shown
from ..toca_core.config import ToCaConfig
from ..toca_core.families.layout import Layout
from ..toca_core.keep import memory
from ..toca_core.predict import Shape, predict
from ..toca_core.predict import need_of as need_of_call
from ..toca_core.schedule import Step, fresh_ratio
from ..toca_core.system import System, Usual
from .host.block_ratios import parse_block_ratios
from .host.records import RECORDS, Record
from .host.settings import OF_THE_RUN, PRESETS, fit, read
from .host.user_files import saved_presets, split_preset
from .models.loading import MOST_BLOCKS
from .systems import SYSTEMS
from .toca_cache import defaults

STEPS = 30
GENERIC = "pixart"      # whose modules stand for those of a model not known yet


def describe(node: str, system: str, workflow: str | None = None) -> dict:
    """The model of a ToCa Cache node, by the ids of the workflow and of the node; before it has run, one of that system, else any.

    Of a model whose modules are not told apart there are none.
    """
    record = record_of(node, system, workflow)
    entry, depths = known(record, system)
    steps = record.run.total if record and record.run else None
    paper = entry.paper(steps or STEPS) if entry is not None and entry.paper is not None else None
    return {"known": record is not None, "model": record.model if record else "", "system": entry.name if entry else "",
            "modules": [{"name": site.name, "kind": site.kind, "stream": site.stream, "blocks": depth,
                         "share": share_of(record, site) if record else None} for site, depth in depths.items()],
            "paper": ratios_of(paper, depths) if paper else {}, "steps": steps,
            "published": {"cycle": paper.cycle, "fresh_ratio": paper.fresh_ratio} if paper and (record or system) else None}


def record_of(node: str, system: str, workflow: str | None) -> Record | None:
    """What is remembered of a node, unless another system's model comes into it by now."""
    record = RECORDS.of((workflow, node))
    return None if record is not None and system and record.system != system else record


def known(record: Record | None, system: str) -> tuple[System | None, dict]:
    """-> (the model's entry, {site: blocks} of the modules that can be told apart)."""
    if record is None:
        name = system if system in SYSTEMS and SYSTEMS[system].usual is not None else GENERIC
        stacks = zip(SYSTEMS[name].stacks, usual_of(name).blocks, strict=True)
        return SYSTEMS[name], {site: depth for stack, depth in stacks for site in stack.sites}
    costs = record.costs
    return SYSTEMS.get(record.system), costs.depths if costs is not None and "module" in costs.layout.levels else {}


def usual_of(system: str) -> Usual:
    """Every system whose modules are told apart has it."""
    usual = SYSTEMS[system].usual
    assert usual is not None, system
    return usual


def share_of(record: Record, site) -> float:
    """Of the model's FLOPs, how much a site takes in all its blocks."""
    assert record.costs is not None             # it has sites
    sizes = record.run.calls[0][0] if record.run else usual_of(record.system).sizes
    stack = record.costs.stack_of[site]
    tokens = stack.tokens_of(site, sizes)
    return round(stack.depth * stack.module_flops(site, sizes.batch, tokens, tokens, sizes) / record.costs.plain_flops(sizes), 4)


def ratios_of(config: ToCaConfig, depths: dict) -> dict[str, list[float]]:
    """The share of fresh tokens of every module in each block, before the step's factor."""
    config, step = replace(config, step_slope=0.0), Step(0, 0, 1)
    return {site.name: [round(min(max(fresh_ratio(config, step, site, block, depth), 0.0), 1.0), 4) for block in range(depth)]
            for site, depth in depths.items()}


def foresee(node: str, system: str, widgets: dict, ratios: str | None, workflow: str | None = None) -> dict:
    """What a run of a ToCa Cache node would cost with these widgets; ratios: the text of a ToCa Ratios node connected to it, or None.

    Raises ConfigError for what the node would refuse.
    """
    record = record_of(node, system, workflow)
    entry, depths = known(record, system)
    costs = record.costs if record else drawn_of(entry, depths)
    settings, run = settings_of(costs, widgets, ratios), record.run if record else None
    drawn = settings_of(costs, widgets | {"preset": "custom", "tolerance": -1.0, "score": "random", "level": "module"}, ratios).custom
    if record is None:
        depths = as_given(depths, dict(drawn.block_ratios))
    drawn, _ = fit(drawn, entry, drawn_of(entry, depths)) if depths else (drawn, [])        # whatever the preset
    config, remarks = settings.resolve(entry, costs, run.total if run else STEPS)
    answer = {"ratios": ratios_of(drawn, depths), "preset": settings.preset, "remarks": list(remarks), "work": "", "flops": None,
              "plain_flops": None, "speedup": None, "cache_bytes": None, "steps": None, "full": None, "note": ""}
    if record is None:
        return answer | {"note": "The cost appears once ToCa Cache has run with a model."}
    if record.costs is None or run is None and (entry is None or entry.usual is None):
        return answer | {"note": "Nothing is known of what this model's parts cost."}
    shape, work = shape_of(record, config)
    config, why = fitted(record, config, shape)
    found = predict(record.costs, config, shape) if config else None
    if found is None:
        return answer | {"work": work, "steps": len(shape.places),
                         "note": why or "Which steps are full follows from the error measured, so the cost depends on the picture."}
    if run and run.masked:
        why = "The tokens of the mask come on top."
    return answer | {"work": work, "steps": len(shape.places), "flops": found.flops, "plain_flops": found.plain_flops, "full": found.full,
                     "speedup": round(found.speedup, 4), "cache_bytes": found.cache_bytes, "note": why}


def to_keep(node: str, system: str, widgets: dict, ratios: str | None, workflow: str | None = None) -> ToCaConfig:
    """The settings that a ToCa Cache node with these widgets comes to, for any number of steps: what a preset of it holds.

    Raises ConfigError for what the node would refuse, and for preset paper before its model is known.
    """
    record = record_of(node, system, workflow)
    entry, depths = known(record, system)
    settings = settings_of(record.costs if record else drawn_of(entry, depths), widgets, ratios)
    if settings.preset == "paper" and record is None:
        raise ConfigError("preset is paper, whose settings depend on the model; sample once, then save.")
    if settings.preset in OF_THE_RUN:
        config, _ = settings.resolve(entry if record else None, record and record.costs, STEPS)
    else:
        config = settings.custom
    return replace(config, max_gap=0)


@dataclass(frozen=True)
class Drawn:
    """What stands for a bound model before there is one: where its modules are, and how many blocks each has."""
    layout: Layout | None
    depths: dict


def drawn_of(entry: System | None, depths: dict) -> Drawn:
    return Drawn(entry.layout if entry is not None else None, depths)


def as_given(depths: dict, ratios: dict) -> dict:
    """As many blocks as there are ratios: a model not known yet may well be the one that they were made for."""
    given = {site: len(ratios.get(site.name, ratios.get(site.kind, ()))) for site in depths}
    return {site: given[site] if 1 < given[site] <= MOST_BLOCKS else depth for site, depth in depths.items()}


def settings_of(bound, widgets: dict, ratios: str | None):
    usual = defaults()
    for name, value in widgets.items():
        if name not in usual:
            raise ConfigError(f"ToCa Cache has no widget {cut(name)}.")
        if isinstance(usual[name], str) != isinstance(value, str) or not isinstance(value, (str, int, float)):
            raise ConfigError(f"{name} is {shown(value)}; give {'text' if isinstance(usual[name], str) else 'a number'}.")
    values = {name: value for name, value in (usual | widgets).items() if name != "enable"}
    presets_known = (*PRESETS, *saved_presets())
    name, own = split_preset(values["preset"])
    if name not in presets_known and not own:
        raise ConfigError(f"preset is {shown(values['preset'])}; choose one of {', '.join(presets_known)}.")
    return read(bound and bound.layout, **values, ratios=None if ratios is None else parse_block_ratios(ratios, "ratios"))


def shape_of(record: Record, config: ToCaConfig) -> tuple[Shape, str]:
    """A run like the last one, or a usual one, and words for it."""
    if record.run is not None:
        return record.run.shape(config.start_percent, config.end_percent), "as in the last run"
    usual = usual_of(record.system)
    places = tuple((step, config.start_percent <= step / STEPS < config.end_percent) for step in range(STEPS))
    return Shape(STEPS, places, ((usual.sizes, usual.conds),), itemsize=2), usual.words


def fitted(record: Record, config: ToCaConfig, shape: Shape) -> tuple[ToCaConfig | None, str]:
    """The settings that the memory allows, as before a run."""
    if record.run is None or record.run.budget is None or config.always_full:
        return config, ""
    given = config.memory_budget * memory.GB
    budget = replace(record.run.budget, device=given) if given else record.run.budget

    def need_of(config):
        return sum((need_of_call(config, sizes, conds, shape.itemsize, record.costs, linear=shape.linear) for sizes, conds in shape.calls),
                   start=memory.Need())
    return memory.choose(config, need_of, budget)
