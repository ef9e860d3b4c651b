"""From the node's widgets to the settings of one run: which preset, and what it leaves to the user."""

from dataclasses import dataclass, replace
from typing import Any

from ...toca_core import presets
from ...toca_core.checks import ConfigError, Number, shown
from ...toca_core.config import ToCaConfig
from ...toca_core.ratios import adapt
from ..systems import MODULES
from .block_ratios import parse_block_ratios
from .user_files import preset_of, split_preset

OF_THE_RUN = ("auto", "quality", "paper")                      # presets whose settings follow from the model and the run, not from widgets
PRESETS = (*OF_THE_RUN, "custom")                              # beside those that users have saved (`user_files.py`)
BUDGET = ("calls", "speed", "refine")                          # of runs that forecast whole steps
ALWAYS = ("start_percent", "end_percent", "memory_budget", "cache_device", "cache_dtype", *BUDGET)  # that count with every preset
SCORES = {"self-attention": "self_attn", "cross-attention": "cross_attn", "random": "random"}


@dataclass(frozen=True)
class Settings:
    """`custom` holds what the widgets say; of them only those `ALWAYS` count with auto, quality and paper.

    preset       of any other name: its settings are `custom`
    tolerance    of preset auto, where a user has set one
    remarks      what a user should know about the widgets, for the report
    """
    preset: str
    custom: ToCaConfig
    verbose: bool = False
    tolerance: float | None = None
    remarks: tuple[str, ...] = ()

    def resolve(self, system, bound, steps: int, state: str = "", masked: bool = False) -> tuple[ToCaConfig, tuple[str, ...]]:
        """The settings of a run over `steps` sampling steps, and remarks.

        system    the model's entry (`toca_core/system.py`), None where its class has none
        bound     its stacks, None where they are not used
        state     a node whose patch keeps something between calls of the blocks, by name
        masked    a mask's tokens are to be computed at every step
        """
        levels = levels_of(system, bound)
        if self.preset in OF_THE_RUN:
            chosen, remarks = self.chosen(system, bound, levels, steps, masked)
        else:
            chosen, remarks = fit(self.custom, system, bound)
        if state and chosen.level != "output":
            remarks.append(f"{state} keeps something from one call of the blocks to the next, so what the model predicts is cached "
                           f"(level output)")
            chosen = at_level(chosen, "output")
        if not chosen.max_gap:
            chosen = replace(chosen, max_gap=presets.longest_gap(steps))
        return chosen, (*self.remarks, *remarks)

    def unmet(self, unrefined: str) -> str:
        """Why the preset can do nothing in a run, in words; unrefined: why its steps cannot be followed in parts."""
        meant = self.preset == "quality" and not self.custom.counted
        return f"preset quality wants sampler euler, and {unrefined}" if meant and unrefined else ""

    def chosen(self, system, bound, levels, steps: int, masked: bool) -> tuple[ToCaConfig, list[str]]:
        """The settings of preset paper, auto or quality."""
        paper = system.paper(steps) if system is not None and system.paper is not None and bound is not None else None
        remarks = []
        if self.preset == "paper" and paper is not None:
            chosen = paper
            if system.paper_of:
                remarks.append(f"Nothing was published for {system.words}: the settings are those published for {system.paper_of}")
        else:
            if self.preset == "paper":
                remarks.append(f"Nothing was published for {system.words if system else 'this model'}: the settings are those of auto")
            own = None if system is None or system.paper_of else paper
            chosen = presets.auto(steps, presets.level_for(levels, masked), own or ToCaConfig())
            if self.tolerance is not None:
                chosen = replace(chosen, tolerance=self.tolerance)
        chosen = replace(chosen, **{name: getattr(self.custom, name) for name in ALWAYS})
        return presets.quality(chosen) if self.preset == "quality" else chosen, remarks


def levels_of(system, bound) -> tuple[str, ...]:
    """The levels that a model can be cached at; the blocks of one without an entry may be found in its first call."""
    if system is None:
        return "stack", "output"
    return ("output",) if bound is None else system.levels


def at_level(config: ToCaConfig, level: str) -> ToCaConfig:
    """The same at another level; whole steps are forecast by tolerance where they were not before, none where nothing was to be cached."""
    if config.forecasts:
        return replace(config, level=level, trust=config.trust and level in presets.TRUSTED)
    chosen = presets.auto(presets.SHORT_RUN, level, config)
    return replace(chosen, tolerance=0.0) if config.always_full else chosen


def read(layout, preset: str, verbose=False, score="auto", block_ratios="", tolerance=-1.0, ratios=None, **widgets) -> Settings:
    """The widgets of ToCa Cache -> Settings; `ratios`, of ToCa Ratios, go before block_ratios. Raises ConfigError."""
    cycles: dict[str, Any] = {name: widgets.pop(name, 0) or None for name in ("cross_attn_cycle", "mlp_cycle")}
    Number(-1, 100)("tolerance", tolerance)                         # whatever the preset
    tolerance = None if tolerance < 0 else tolerance
    config = ToCaConfig(score=score_of(score, layout), block_ratios=parse_block_ratios(block_ratios) if ratios is None else ratios,
                        **cycles, **widgets)
    remark = ""
    if preset not in PRESETS:
        saved, remark = preset_of(preset)
        preset, config = split_preset(preset)[0], with_widgets(saved, config, tolerance)
    elif preset == "custom":
        config = at_tolerance(config, tolerance)
    return Settings(preset, config, verbose, tolerance, (*filter(None, [remark]), *unused(preset, config, ratios, tolerance)))


def with_widgets(saved: ToCaConfig, widgets: ToCaConfig, tolerance: float | None) -> ToCaConfig:
    """A saved preset, with the widgets of `ALWAYS` that differ from their defaults, and with a tolerance where one is set."""
    changed = {name: getattr(widgets, name) for name in ALWAYS if getattr(widgets, name) != getattr(ToCaConfig(), name)}
    return at_tolerance(replace(saved, **changed), tolerance)


def at_tolerance(config: ToCaConfig, tolerance: float | None) -> ToCaConfig:
    """The same settings by a tolerance, where one is set and counts."""
    return config if tolerance is None or not config.forecasts else replace(config, tolerance=tolerance)


def unused(preset: str, config: ToCaConfig, ratios, tolerance: float | None):
    """What a user has set, but what does not count: it stays set from one preset and level to another."""
    if preset not in OF_THE_RUN and tolerance is not None and not config.forecasts:
        yield f"The tolerance of {tolerance:g} was not used, since level is {config.level}; choose stack or output"
    if preset != "custom" and ratios is not None:
        yield f"The connected ratios were not used, since preset is {preset}; choose custom"
    elif preset == "custom" and config.block_ratios and config.level != "module":
        yield f"The ratios by block were not used, since level is {config.level}; choose module"
    budget = [name for name in BUDGET if getattr(config, name) != getattr(ToCaConfig(), name)]
    if budget and preset not in OF_THE_RUN and config.level == "module":
        yield f"{' and '.join(budget)} did not count, since level is module; choose stack or output"
    elif config.counted and tolerance is not None:
        yield "tolerance did not count, since calls or speed says how many steps are computed"


def fit(config: ToCaConfig, system, bound) -> tuple[ToCaConfig, list[str]]:
    """Settings that the model can follow, and what was changed.

    A level that it does not have becomes the next one; ratios for other modules or another depth are adapted (`ratios.adapt`). Raises
    ConfigError for a score that the model does not give, and for ratios of a module that no model has.
    """
    levels, remarks = levels_of(system, bound), []
    if config.level not in levels:
        remarks.append(f"level is {config.level}, which this model cannot be cached at: {levels[0]} is used")
        config = at_level(config, levels[0])
    if config.level != "module":
        return replace(config, block_ratios=()), remarks
    if config.score != "random" and config.score not in bound.layout.scores:
        word = {value: word for word, value in SCORES.items()}[config.score]
        raise ConfigError(f"score is {word}, which this model does not give; choose one of {', '.join(score_words(bound.layout))}.")
    ratios, adapted = adapt(config.block_ratios, bound.depths, MODULES)
    return replace(config, block_ratios=ratios), remarks + adapted


def score_words(layout) -> list[str]:
    return ["auto", *(word for word, value in SCORES.items() if value == "random" or value in layout.scores)]


def score_of(choice: str, layout) -> str:
    """The widget's word -> a score; auto is what the paper uses: cross-attention where the model has it. layout: None where not known.

    Where no attention of a model can be read, auto is random.
    """
    if choice == "auto":
        return "self_attn" if layout is None else next((score for score in ("cross_attn", "self_attn") if score in layout.scores), "random")
    if not isinstance(choice, str) or choice not in SCORES:
        raise ConfigError(f"score is {shown(choice)}; choose one of auto, {', '.join(SCORES)}.")
    return SCORES[choice]
