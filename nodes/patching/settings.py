"""From the node's widgets to the settings of one run: which preset, and what it leaves to the user."""

from dataclasses import dataclass, replace

from ...toca_core import presets
from ...toca_core.config import ConfigError, ToCaConfig

PRESETS = ("auto", "paper", "custom")
SCORES = {"self-attention": "self_attn", "cross-attention": "cross_attn", "random": "random"}


@dataclass(frozen=True)
class Settings:
    """`custom` holds what the widgets say; with a preset only its range of the sampling process applies."""
    preset: str
    custom: ToCaConfig
    verbose: bool = False

    def resolve(self, layout, depth: int, steps: int) -> ToCaConfig:
        """The settings of a run over `steps` sampling steps of a model with `depth` blocks."""
        if self.preset == "custom":
            return fit(self.custom, layout, depth)
        chosen = (presets.paper if self.preset == "paper" else presets.auto)(layout.system, steps)
        return replace(chosen, start_percent=self.custom.start_percent, end_percent=self.custom.end_percent)


def fit(config: ToCaConfig, layout, depth: int) -> ToCaConfig:
    """Refuse what the model cannot follow: a score from attention it lacks, ratios for another depth."""
    if config.score in ("self_attn", "cross_attn") and config.score not in layout.modules:
        raise ConfigError("score is cross-attention, but this model has none; choose auto, self-attention or random.")
    for module, ratios in config.block_ratios:
        if module not in layout.modules:
            raise ConfigError(f"block_ratios names {module}, which this model has not; its modules are {', '.join(layout.modules)}.")
        if len(ratios) != depth:
            raise ConfigError(f"block_ratios gives {len(ratios)} ratios for {module}, the model has {depth} blocks; give {depth}.")
    return config


def score_of(choice: str, layout) -> str:
    """The widget's word -> a score; auto is what the paper uses: cross-attention where the model has it."""
    if choice == "auto":
        return "cross_attn" if "cross_attn" in layout.modules else "self_attn"
    if choice not in SCORES:
        raise ConfigError(f"score is {choice!r}; choose one of auto, {', '.join(SCORES)}.")
    return SCORES[choice]
