"""Settings with a name, free of any system; those of the paper are its systems' own (`system.System.paper`)."""

from dataclasses import replace

from .config import ToCaConfig

SHORT_RUN = 10          # steps below which a stride is so long that at most every other step is skipped
TOLERANCE = 0.2         # percent
FOLLOWED = 4            # parts into which preset quality cuts every step
PLAIN_TIME = 1.1        # speed at which the parts beside those that are computed take no longer than what is saved
TRUSTED = ("stack",)    # levels at which a token's forecast is scaled by how well the last one fitted


def level_for(levels: tuple[str, ...], masked: bool = False) -> str:
    """The level of preset auto, of those that a model has: output, which keeps closer at auto's tolerance (docs/bench/levels_30.md,
    docs/bench/multistep.md).

    masked: single tokens are to be computed between full steps, as level stack alone can
    """
    return "stack" if masked and "stack" in levels else "output"


def longest_gap(steps: int) -> int:
    """The `max_gap` of a run of that many steps."""
    return 2 if steps < SHORT_RUN else 8


def auto(steps: int, level: str = "stack", base: ToCaConfig | None = None) -> ToCaConfig:
    """What measured best: whole steps forecast, with full ones where the measured error asks for them.

    level    "stack" or "output"
    base     the settings of the model's own paper, of which only those that have nothing to do with its modules stay
    """
    return replace(base or ToCaConfig(), layer_divisor=None, level=level, tolerance=TOLERANCE, trust=level in TRUSTED,
                   max_gap=longest_gap(steps))


def quality(config: ToCaConfig) -> ToCaConfig:
    """Nearer to what very many steps give than the plain run, in its time: nearly as many calls, or as many as are given, better spent."""
    return replace(config, refine=max(config.refine, FOLLOWED), speed=config.speed if config.counted else PLAIN_TIME)
