"""What a user can set, checked once."""

from dataclasses import dataclass, fields

KINDS = ("self_attn", "cross_attn", "mlp", "parallel_mlp")      # of modules; the last one runs beside attention (FLUX single blocks)
SCORES = ("self_attn", "cross_attn", "random")
CYCLE_RULES = ("fixed", "multiples", "dit", "pixart")
LEVELS = ("module", "stack", "output")
STALE_TOKENS = ("reuse", "forecast")
# Settings that count at level module alone, and those that do not count there.
OF_MODULES = ("fresh_ratio", "cross_attn_cycle", "mlp_cycle", "cross_attn_share", "mlp_share", "parallel_mlp_share", "layer_slope",
              "layer_divisor", "step_slope", "block_ratios", "score", "spread_bonus", "spread_cell", "stale_tokens")
OF_STEPS = ("tolerance", "calls", "speed", "refine", "max_gap", "repayment", "token_mask", "mask_dilation", "refresh_ratio", "refresh")
CACHE_DTYPES, CACHE_DEVICES = ("same", "bf16", "fp8"), ("gpu", "cpu")
SMALLEST_TOLERANCE = 1e-4       # percent, below which lies what float32 computations differ by
REFRESHES = ("error", "self_attn", "random")
BASES, FORECAST_TIMES = ("taylor", "chebyshev"), ("sigma", "log_snr")
SHOWN = 60              # characters of a value in an error


class ConfigError(ValueError):
    """A setting that cannot be used; the message names it, its value and the remedy."""


def shown(value, most: int = SHOWN) -> str:
    """Any value as an error shows it, on one line and not too long."""
    try:
        return cut(repr(value[:most + 1] if isinstance(value, (str, bytes)) else value), most)
    except Exception:                                               # a number of too many digits, lists in lists in lists
        return f"<{type(value).__name__} that is too large to show>"


def cut(text: str, most: int = SHOWN) -> str:
    """A name as an error shows it, on one line and not too long."""
    start = text[:most + 1]
    start = start if start.isprintable() else repr(start)[1:-1]
    return start if len(start) <= most else start[:most] + "..."


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
    order             of that continuation: 0, 1 or 2
    basis             what is continued: the polynomial through the last full steps ("taylor"), or a smooth fit ("chebyshev")
    forecast_time     in which it is continued: "sigma" or "log_snr"
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
    fresh_ratio: float = 0.1
    cycle: int = 3
    cross_attn_cycle: int | None = None
    mlp_cycle: int | None = None
    cycle_rule: str = "fixed"
    warmup_steps: int = 1
    cross_attn_share: float = 1.0
    mlp_share: float = 1.0
    parallel_mlp_share: float = 1.0
    layer_slope: float = 0.0
    layer_divisor: int | None = None
    step_slope: float = 0.0
    block_ratios: tuple[tuple[str, tuple[float, ...]], ...] = ()
    score: str = "self_attn"
    score_queries: float = 0.125
    staleness_weight: float = 0.25
    spread_bonus: float = 0.0
    spread_cell: int = 2
    level: str = "module"
    stale_tokens: str = "reuse"
    order: int = 1
    basis: str = "taylor"
    forecast_time: str = "log_snr"
    trust: bool = True
    tolerance: float | None = None
    calls: int = 0
    speed: float = 0.0
    refine: int = 1
    max_gap: int = 8
    repayment: float = 1.0
    memory_budget: float = 0.0
    cache_device: str = "gpu"
    cache_dtype: str = "same"
    token_mask: bool = False
    mask_dilation: int = 1
    refresh_ratio: float = 0.0
    refresh: str = "error"
    start_percent: float = 0.0
    end_percent: float = 1.0

    def __post_init__(self):
        for field in fields(self):
            CHECKS[field.name](field.name, getattr(self, field.name))
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
        return name not in (OF_MODULES if self.forecasts else OF_STEPS)

    def cycle_of(self, kind: str) -> int:
        own = {"cross_attn": self.cross_attn_cycle, "mlp": self.mlp_cycle, "parallel_mlp": self.mlp_cycle}.get(kind)
        return self.cycle if own is None else own

    def share_of(self, kind: str) -> float:
        return {"cross_attn": self.cross_attn_share, "mlp": self.mlp_share, "parallel_mlp": self.parallel_mlp_share}[kind]

    def ratios_of(self, name: str, kind: str) -> tuple[float, ...] | None:
        """The given ratios of a module by its own name, else by its kind."""
        given = dict(self.block_ratios)
        return given.get(name, given.get(kind))


def number(low, high, whole=False):
    def check(name, value):
        kinds = int if whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
            raise ConfigError(f"{name} is {shown(value)}; give {'a whole number' if whole else 'a number'} from {low} to {high}.")
    return check


def optional(check):
    return lambda name, value: None if value is None else check(name, value)


def choice(options):
    def check(name, value):
        if not isinstance(value, str) or value not in options:
            raise ConfigError(f"{name} is {shown(value)}; choose one of {', '.join(options)}.")
    return check


def check_flag(name, value):
    if not isinstance(value, bool):
        raise ConfigError(f"{name} is {shown(value)}; give true or false.")


def check_block_ratios(name, value):
    if not isinstance(value, (tuple, list)) or not all(map(is_line, value)):
        raise ConfigError(f"{name} is {shown(value)}; give pairs of a module's name and its ratios.")
    named: set[str] = set()
    for module, ratios in value:
        if not ratios:
            raise ConfigError(f"{name} gives no ratio for {cut(module)}; give one per block, or leave {cut(module)} out.")
        if module in named:
            raise ConfigError(f"{name} gives {cut(module)} twice; keep one line of it.")
        named.add(module)
        for block, ratio in enumerate(ratios):
            number(0, 1)(f"{name}: {cut(module)}, block {block}", ratio)


def is_line(pair) -> bool:
    """Whether something is a module's name and a row of what may be its ratios."""
    return isinstance(pair, (tuple, list)) and len(pair) == 2 and isinstance(pair[0], str) and isinstance(pair[1], (tuple, list))


CHECKS = {
    "fresh_ratio": number(0, 1),
    "cycle": number(1, 100, whole=True),
    "cross_attn_cycle": optional(number(1, 100, whole=True)),
    "mlp_cycle": optional(number(1, 100, whole=True)),
    "cycle_rule": choice(CYCLE_RULES),
    "warmup_steps": number(1, 1000, whole=True),
    "cross_attn_share": number(0, 10),
    "mlp_share": number(0, 10),
    "parallel_mlp_share": number(0, 10),
    "layer_slope": number(-10, 10),
    "layer_divisor": optional(number(1, 10000, whole=True)),
    "step_slope": number(-10, 10),
    "block_ratios": check_block_ratios,
    "score": choice(SCORES),
    "score_queries": number(0, 1),
    "staleness_weight": number(0, 100),
    "spread_bonus": number(0, 100),
    "spread_cell": number(1, 64, whole=True),
    "level": choice(LEVELS),
    "stale_tokens": choice(STALE_TOKENS),
    "order": number(0, 2, whole=True),
    "basis": choice(BASES),
    "forecast_time": choice(FORECAST_TIMES),
    "trust": check_flag,
    "tolerance": optional(number(0, 100)),
    "calls": number(0, 10000, whole=True),
    "speed": number(0, 100),
    "refine": number(1, 64, whole=True),
    "max_gap": number(0, 100, whole=True),
    "repayment": number(0, 2),
    "memory_budget": number(0, 1024),
    "cache_device": choice(CACHE_DEVICES),
    "cache_dtype": choice(CACHE_DTYPES),
    "token_mask": check_flag,
    "mask_dilation": number(0, 64, whole=True),
    "refresh_ratio": number(0, 1),
    "refresh": choice(REFRESHES),
    "start_percent": number(0, 1),
    "end_percent": number(0, 1),
}
