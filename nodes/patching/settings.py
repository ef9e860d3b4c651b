"""From the node's widgets to the settings of one run: which preset, and what it leaves to the user."""

from dataclasses import dataclass, replace

from ...toca_core import presets
from ...toca_core.config import ConfigError, ToCaConfig

PRESETS = ("auto", "paper", "custom")                          # beside those that users have saved (`user_files.py`)
ALWAYS = ("start_percent", "end_percent", "memory_budget", "cache_device", "cache_dtype")       # widgets that count with every preset
SCORES = {"self-attention": "self_attn", "cross-attention": "cross_attn", "random": "random"}


@dataclass(frozen=True)
class Settings:
    """`custom` holds what the widgets say; of them only those `ALWAYS` count with auto and paper.

    preset       of any other name: its settings are `custom`
    tolerance    of preset auto, where a user has set one
    """
    preset: str
    custom: ToCaConfig
    verbose: bool = False
    tolerance: float | None = None

    def resolve(self, layout, depths: dict, steps: int) -> ToCaConfig:
        """The settings of a run over `steps` sampling steps; depths: how many blocks each site has."""
        if self.preset not in ("auto", "paper"):
            return fit(self.custom, layout, depths)
        chosen = (presets.paper if self.preset == "paper" else presets.auto)(layout.system, steps)
        if self.preset == "auto" and self.tolerance is not None:
            chosen = replace(chosen, tolerance=self.tolerance)
        return replace(chosen, **{name: getattr(self.custom, name) for name in ALWAYS})


def with_widgets(saved: ToCaConfig, widgets: ToCaConfig, tolerance: float | None) -> ToCaConfig:
    """A saved preset, and of the widgets those `ALWAYS` that are not as they come, and a tolerance where one is set."""
    changed = {name: getattr(widgets, name) for name in ALWAYS if getattr(widgets, name) != getattr(ToCaConfig(), name)}
    return replace(saved, **changed, **({} if tolerance is None else {"tolerance": tolerance}))


def fit(config: ToCaConfig, layout, depths: dict) -> ToCaConfig:
    """Refuse what the model cannot follow: a score it does not give, ratios for a module or a depth it does not have."""
    if config.score != "random" and config.score not in layout.scores:
        word = {value: word for word, value in SCORES.items()}[config.score]
        raise ConfigError(f"score is {word}, which this model does not give; choose one of {', '.join(score_words(layout))}.")
    for name, ratios in config.block_ratios:
        meant = {site: depth for site, depth in depths.items() if name in (site.name, site.kind) and site.kind != "self_attn"}
        if not meant:
            known = ", ".join(site.name for site in depths if site.kind != "self_attn")
            raise ConfigError(f"block_ratios names {name}, which this model has not; its modules are {known}.")
        for site, depth in meant.items():
            if len(ratios) not in (1, depth):
                raise ConfigError(f"block_ratios gives {len(ratios)} ratios for {site.name}, the model has {depth} blocks there; "
                                  f"give {depth}, or one for all.")
    return config


def score_words(layout) -> list[str]:
    return ["auto", *(word for word, value in SCORES.items() if value == "random" or value in layout.scores)]


def score_of(choice: str, layout) -> str:
    """The widget's word -> a score; auto is what the paper uses: cross-attention where the model has it."""
    if choice == "auto":
        return "cross_attn" if "cross_attn" in layout.scores else "self_attn"
    if choice not in SCORES:
        raise ConfigError(f"score is {choice!r}; choose one of auto, {', '.join(SCORES)}.")
    return SCORES[choice]
