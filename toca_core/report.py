"""What a sampling run did."""

from dataclasses import asdict, dataclass, field


@dataclass
class StepReport:
    """One evaluation. `kind` is "full", "partial" or "plain" (outside start_percent..end_percent).

    error    at a full step, of the forecast that would have spared it, in percent of the prediction
    """
    index: int
    sigma: float
    kind: str
    fresh_share: dict[str, float] = field(default_factory=dict)     # module -> mean over blocks, partial steps only
    fresh_per_block: dict[str, list[float]] = field(default_factory=dict)       # module -> share in each block, likewise
    error: float | None = None


@dataclass
class RunReport:
    """Counts and costs of one sampling run; FLOPs are counted from shapes, seconds are wall time of the whole run."""
    model: str
    preset: str
    settings: dict
    steps: list[StepReport] = field(default_factory=list)
    model_calls: dict[str, int] = field(default_factory=lambda: {"full": 0, "partial": 0, "plain": 0})
    flops: int = 0
    plain_flops: int = 0
    cache_bytes: int = 0
    predicted_cache_bytes: int = 0                                  # at most, said before anything is kept
    seconds: float = 0.0
    note: str = ""

    def remark(self, sentence: str):
        """One more thing that a user should know, said once."""
        if sentence not in self.note:
            self.note = f"{self.note}. {sentence}" if self.note else sentence

    def calls(self, kind: str) -> int:
        return sum(step.kind == kind for step in self.steps)

    @property
    def flops_speedup(self) -> float:
        return self.plain_flops / self.flops if self.flops else 1.0

    def summary(self) -> str:
        """The one log line of a run."""
        line = (f"ToCa ({self.preset}): {len(self.steps)} model evaluations, {self.calls('full') + self.calls('plain')} full and "
                f"{self.calls('partial')} partial; {self.flops_speedup:.2f}x fewer FLOPs, cache {self.cache_bytes / 2**20:.1f} MiB "
                f"(predicted {self.predicted_cache_bytes / 2**20:.1f}), {self.seconds:.2f} s")
        return f"{line}. {self.note}" if self.note else line

    def as_dict(self) -> dict:
        return {**asdict(self), "flops_speedup": self.flops_speedup,
                "calls": {kind: self.calls(kind) for kind in ("full", "partial", "plain")}}
