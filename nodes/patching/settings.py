"""From the node's widgets to the settings of one run: which preset, and what it leaves to the user."""

from dataclasses import dataclass, replace

from ...toca_core import presets
from ...toca_core.config import ConfigError, ToCaConfig
from ...toca_core.ratios import adapt
from ..models.table import MODULES
from .block_ratios import parse_block_ratios
from .user_files import load_preset

PRESETS = ("auto", "paper", "custom")                          # beside those that users have saved (`user_files.py`)
ALWAYS = ("start_percent", "end_percent", "memory_budget", "cache_device", "cache_dtype")       # widgets that count with every preset
SCORES = {"self-attention": "self_attn", "cross-attention": "cross_attn", "random": "random"}


@dataclass(frozen=True)
class Settings:
    """`custom` holds what the widgets say; of them only those `ALWAYS` count with auto and paper.

    preset       of any other name: its settings are `custom`
    tolerance    of preset auto, where a user has set one
    remarks      what a user should know about the widgets, for the report
    """
    preset: str
    custom: ToCaConfig
    verbose: bool = False
    tolerance: float | None = None
    remarks: tuple[str, ...] = ()

    def resolve(self, layout, depths: dict, steps: int) -> tuple[ToCaConfig, tuple[str, ...]]:
        """The settings of a run over `steps` sampling steps, and remarks; depths: how many blocks each site has."""
        if self.preset not in ("auto", "paper"):
            config, adapted = fit(self.custom, layout, depths)
            return config, (*self.remarks, *adapted)
        chosen = (presets.paper if self.preset == "paper" else presets.auto)(layout.system, steps)
        if self.preset == "auto" and self.tolerance is not None:
            chosen = replace(chosen, tolerance=self.tolerance)
        return replace(chosen, **{name: getattr(self.custom, name) for name in ALWAYS}), self.remarks


def read(layout, preset: str, verbose=False, score="auto", block_ratios="", tolerance=-1.0, ratios=None, **widgets) -> Settings:
    """The widgets of ToCa Cache -> Settings; `ratios`, of ToCa Ratios, go before block_ratios. Raises ConfigError."""
    cycles = {name: widgets.pop(name, 0) or None for name in ("cross_attn_cycle", "mlp_cycle")}
    tolerance = None if tolerance < 0 else tolerance
    config = ToCaConfig(score=score_of(score, layout), block_ratios=parse_block_ratios(block_ratios) if ratios is None else ratios,
                        tolerance=tolerance if preset == "custom" else None, **cycles, **widgets)
    if preset not in PRESETS:
        config = with_widgets(load_preset(preset), config, tolerance)
    return Settings(preset, config, verbose, tolerance, tuple(unused(preset, config, ratios)))


def with_widgets(saved: ToCaConfig, widgets: ToCaConfig, tolerance: float | None) -> ToCaConfig:
    """A saved preset, and of the widgets those `ALWAYS` that are not as they come, and a tolerance where one is set."""
    changed = {name: getattr(widgets, name) for name in ALWAYS if getattr(widgets, name) != getattr(ToCaConfig(), name)}
    return replace(saved, **changed, **({} if tolerance is None else {"tolerance": tolerance}))


def unused(preset: str, config: ToCaConfig, ratios):
    """Ratios that a user has set, but that do not count."""
    if preset != "custom" and ratios is not None:
        yield f"The connected ratios were not used, since preset is {preset}; choose custom"
    elif preset == "custom" and config.block_ratios and config.level != "module":
        yield f"The ratios by block were not used, since level is {config.level}; choose module"


def fit(config: ToCaConfig, layout, depths: dict) -> tuple[ToCaConfig, list[str]]:
    """Settings that the model can follow, and what was changed: ratios for other modules or another depth are adapted (`ratios.adapt`).

    Raises ConfigError for a score that the model does not give, and for ratios of a module that no model has.
    """
    if config.score != "random" and config.score not in layout.scores:
        word = {value: word for word, value in SCORES.items()}[config.score]
        raise ConfigError(f"score is {word}, which this model does not give; choose one of {', '.join(score_words(layout))}.")
    ratios, remarks = adapt(config.block_ratios, depths, MODULES)
    return replace(config, block_ratios=ratios), remarks if config.level == "module" else []


def score_words(layout) -> list[str]:
    return ["auto", *(word for word, value in SCORES.items() if value == "random" or value in layout.scores)]


def score_of(choice: str, layout) -> str:
    """The widget's word -> a score; auto is what the paper uses: cross-attention where the model has it."""
    if choice == "auto":
        return "cross_attn" if "cross_attn" in layout.scores else "self_attn"
    if choice not in SCORES:
        raise ConfigError(f"score is {choice!r}; choose one of auto, {', '.join(SCORES)}.")
    return SCORES[choice]
