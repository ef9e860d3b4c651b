"""What a user can set, checked once."""

from dataclasses import dataclass, field, fields
from typing import Any

from .checks import BlockRatios, Choice, ConfigError, Domain, Flag, Number

KINDS = ("self_attn", "cross_attn", "mlp", "parallel_mlp")      # of modules; the last one runs beside attention (FLUX single blocks)
SCORES = ("self_attn", "cross_attn", "random")
CYCLE_RULES = ("fixed", "multiples", "dit", "pixart")
LEVELS = ("module", "stack", "output")
STALE_TOKENS = ("reuse", "forecast")
CACHE_DTYPES, CACHE_DEVICES = ("same", "bf16", "fp8"), ("gpu", "cpu")
SMALLEST_TOLERANCE = 1e-4       # percent, below which lies what float32 computations differ by
REFRESHES = ("error", "self_attn", "random")
MODULE, STEPS = "module", "steps"           # where a setting counts: at level module alone, or at those alone that forecast whole steps


def setting(default, domain: Domain, counts: str = "", /, *, advanced: bool = False, **widget) -> Any:
    """One setting. widget: in what its widget differs, `default`, `min` and `max`, and its `step` and `round`.

    A fresh node's shares and spread_bonus are those published for PixArt, and those of the core make no difference.
    """
    return field(default=default, metadata={"domain": domain, "counts": counts, "advanced": advanced, "widget": widget})


@dataclass(frozen=True)
class ToCaConfig:
    """Settings of one cached model. Ratios are shares of *fresh* (recomputed) tokens in 0..1.

    The share of fresh tokens of a module in a block at a step is
    `fresh_ratio x layer factor x step factor x module share`, clamped to 0..1 (paper, section 3.3; `schedule.py`).

    fresh_ratio       the paper's `1 - R`; at 1 every step is a full step
    cycle             N, the distance in steps between full steps; at 1 every step is a full step
    cross_attn_cycle, mlp_cycle    N of cross-attention and of the MLPs where it differs; None means `cycle`
    cycle_rule        how the distance varies along the run (`schedule.py`)
    warmup_steps      full steps at the start, at least 1
    cross_attn_share, mlp_share, parallel_mlp_share    the module factors; self-attention is never computed partially
    layer_slope       w: early blocks are fresher where positive
    layer_divisor     what the block index is divided by; None means depth - 1
    step_slope        v: early steps are fresher where positive, late steps where negative
    block_ratios      per module ("mlp", "double.img_mlp"), one ratio per block or one for all blocks, in place of
                      `fresh_ratio x layer factor x module share`
    score             what ranks the tokens: s1 ("self_attn"), s2 ("cross_attn") or "random"
    score_queries     share of an attention's queries that s1 is read from, though never few (`schedule.queries_read`); at 1 all of them,
                      as the authors' code reads it
    staleness_weight  weight of s3
    spread_bonus, spread_cell    s4: the best token of every cell x cell square is raised by `bonus x` itself
    level             "module": each module keeps its output (the paper); "stack": one residual per token for all blocks together;
                      "output": what the model predicts, of any model
    stale_tokens      what is not recomputed is taken as it was ("reuse") or continued from the last full steps ("forecast")
    order             of that continuation, in log-SNR: 0, 1 or 2
    trust             scale every token's continuation by how well the last one fitted
    tolerance         full steps where the measured error asks for them: the error that the steps between two full ones may add
                      to the sample, in percent of the prediction, early steps counting most (`error_cycle.py`); at 0 every step
                      is full; None means the fixed `cycle`. For levels "stack" and "output"
    calls             at most so many calls of the model in a run, in place of a tolerance: the steps that are full are those where
                      forecasts are expected to err most (`planning.py`); 0 means no such number. For levels "stack" and "output"
    speed             the same said as a speed: so many calls that the run takes 1 / speed of them; 0 means none
    refine            at level "output", over Euler's steps: every step is cut into so many, of which no more are computed, and all
                      follow the forecast, so that the result comes near to that of very many steps; 1 keeps to the plain run's
    max_gap           at most this distance between full steps, with a tolerance; 0 stands for what `presets.longest_gap` says of a
                      run's steps, until that is known
    repayment         share of the error found at a full step that is taken back from the sample there (Euler's step only)
    memory_budget     GB (2**30 bytes) that the cache may take of the model's device; 0 means what is free there
    cache_device      the cache lies on the model's device ("gpu") or in the host's memory ("cpu")
    cache_dtype       in the precision of the features ("same") or in fewer bits ("bf16", "fp8")
    token_mask        at level "stack": compute the tokens inside a latent's noise mask between full steps too, as a mask of
                      ToCa Token Mask always does; it takes the keys and values of every block
    mask_dilation     how many tokens around a latent's noise mask are computed with it
    refresh_ratio     at level "stack": share of tokens computed on the steps between full ones, beside those of a mask
    refresh           what chooses them: the error of their last forecast ("error"), s1 ("self_attn") or "random"
    start_percent, end_percent   range of the sampling process, in 0..1, in which steps may be partial
    """
    fresh_ratio: float = setting(0.1, Number(0, 1), MODULE, step=0.01)
    cycle: int = setting(3, Number(1, 100, whole=True))
    cross_attn_cycle: int | None = setting(None, Number(1, 100, whole=True, none=True), MODULE, advanced=True, default=0, min=0)
    mlp_cycle: int | None = setting(None, Number(1, 100, whole=True, none=True), MODULE, advanced=True, default=0, min=0)
    cycle_rule: str = setting("fixed", Choice(CYCLE_RULES), advanced=True)
    warmup_steps: int = setting(1, Number(1, 1000, whole=True), advanced=True)
    cross_attn_share: float = setting(1.0, Number(0, 10), MODULE, default=0.6, step=0.05)
    mlp_share: float = setting(1.0, Number(0, 10), MODULE, default=1.6, step=0.05)
    parallel_mlp_share: float = setting(1.0, Number(0, 10), MODULE, advanced=True, default=1.6, step=0.05)
    layer_slope: float = setting(0.0, Number(-10, 10), MODULE, min=-2.0, max=2.0, step=0.05)
    layer_divisor: int | None = setting(None, Number(1, 10000, whole=True, none=True), MODULE)
    step_slope: float = setting(0.0, Number(-10, 10), MODULE, advanced=True, min=-2.0, max=2.0, step=0.05)
    block_ratios: tuple[tuple[str, tuple[float, ...]], ...] = setting((), BlockRatios(), MODULE)
    score: str = setting("self_attn", Choice(SCORES), MODULE)
    score_queries: float = setting(0.125, Number(0, 1))
    staleness_weight: float = setting(0.25, Number(0, 100), advanced=True, max=10.0, step=0.05)
    spread_bonus: float = setting(0.0, Number(0, 100), MODULE, advanced=True, default=0.4, max=10.0, step=0.05)
    spread_cell: int = setting(2, Number(1, 64, whole=True), MODULE, advanced=True)
    level: str = setting("module", Choice(LEVELS))
    stale_tokens: str = setting("reuse", Choice(STALE_TOKENS), MODULE)
    order: int = setting(1, Number(0, 2, whole=True), advanced=True)
    trust: bool = setting(True, Flag())
    tolerance: float | None = setting(None, Number(0, 100, none=True), STEPS, default=-1.0, min=-1.0, step=0.05, round=0.001)
    calls: int = setting(0, Number(0, 10000, whole=True), STEPS)
    speed: float = setting(0.0, Number(0, 100), STEPS, step=0.1, round=0.01)
    refine: int = setting(1, Number(1, 64, whole=True), STEPS)
    max_gap: int = setting(8, Number(0, 100, whole=True), STEPS)
    repayment: float = setting(1.0, Number(0, 2), STEPS)
    memory_budget: float = setting(0.0, Number(0, 1024), advanced=True, step=0.1)
    cache_device: str = setting("gpu", Choice(CACHE_DEVICES), advanced=True)
    cache_dtype: str = setting("same", Choice(CACHE_DTYPES), advanced=True)
    token_mask: bool = setting(False, Flag(), STEPS)
    mask_dilation: int = setting(1, Number(0, 64, whole=True), STEPS)
    refresh_ratio: float = setting(0.0, Number(0, 1), STEPS)
    refresh: str = setting("error", Choice(REFRESHES), STEPS)
    start_percent: float = setting(0.0, Number(0, 1), advanced=True, step=0.01)
    end_percent: float = setting(1.0, Number(0, 1), advanced=True, step=0.01)

    def __post_init__(self):
        for name, entry in SETTINGS.items():
            entry.metadata["domain"](name, getattr(self, name))
        if self.start_percent > self.end_percent:
            raise ConfigError(f"start_percent is {self.start_percent}, after end_percent {self.end_percent}; "
                              f"set start_percent at or before end_percent.")
        if self.tolerance is not None and not self.forecasts:
            raise ConfigError(f"tolerance is {self.tolerance}, which needs level stack or output; "
                              f"set level to one of them, or tolerance to -1.")

    @property
    def always_full(self) -> bool:
        """True where these settings leave nothing to cache, so that the model runs plainly."""
        if self.forecasts:
            if self.counted or self.refine > 1:
                return False
            return self.tolerance < SMALLEST_TOLERANCE if self.tolerance is not None else self.cycle == 1
        return self.fresh_ratio >= 1 or all(self.cycle_of(kind) == 1 for kind in KINDS)

    @property
    def watched(self) -> bool:
        """Whether full steps follow from the errors of forecasts, measured or expected, and from no fixed cycle."""
        return self.tolerance is not None or self.counted

    @property
    def counted(self) -> bool:
        """Whether a number of calls says which steps are full."""
        return self.calls > 0 or self.speed > 0

    @property
    def forecasts(self) -> bool:
        """Whether whole steps are forecast, in place of module outputs being reused."""
        return self.level != "module"

    @property
    def forecast_order(self) -> int:
        """Of what is kept: 0 where stale tokens are taken as they were."""
        return self.order if self.forecasts or self.stale_tokens == "forecast" else 0

    def counts(self, name: str) -> bool:
        """Whether a setting has a say at this level, and beside a tolerance where there is one."""
        if name in ("max_gap", "cycle_rule"):
            return (self.tolerance is None) == (name == "cycle_rule")
        return SETTINGS[name].metadata["counts"] != (MODULE if self.forecasts else STEPS)

    def cycle_of(self, kind: str) -> int:
        own = {"cross_attn": self.cross_attn_cycle, "mlp": self.mlp_cycle, "parallel_mlp": self.mlp_cycle}.get(kind)
        return self.cycle if own is None else own

    def share_of(self, kind: str) -> float:
        return {"cross_attn": self.cross_attn_share, "mlp": self.mlp_share, "parallel_mlp": self.parallel_mlp_share}[kind]

    def ratios_of(self, name: str, kind: str) -> tuple[float, ...] | None:
        """The given ratios of a module by its own name, else by its kind."""
        given = dict(self.block_ratios)
        return given.get(name, given.get(kind))


SETTINGS = {entry.name: entry for entry in fields(ToCaConfig)}
