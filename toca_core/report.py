"""What a sampling run did."""

import math
import statistics
from dataclasses import asdict, dataclass, field

from .keep.memory import readable


@dataclass
class StepReport:
    """One evaluation. `kind` is "full", "partial", "plain" (outside start_percent..end_percent), or "other": another node answered it.

    error    at a full step, of the forecast that would have spared it, in percent of the prediction
    seconds  of wall time until the next evaluation began; 0 until it is known, which on a graphics card is later (`ahead`)
    """
    index: int
    sigma: float
    kind: str
    fresh_share: dict[str, float] = field(default_factory=dict)     # module -> mean over blocks, partial steps only
    fresh_per_block: dict[str, list[float]] = field(default_factory=dict)       # module -> share in each block, likewise
    error: float | None = None
    seconds: float = field(default=0.0, compare=False)              # two steps that did the same are equal


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
    why_level: str = ""                                             # why this level, in words

    @property
    def parts(self) -> int:
        """Into how many each of the plain run's steps was cut; those are what `steps` tells of."""
        return self.settings.get("refine", 1)

    def remark(self, sentence: str):
        """One more thing that a user should know, said once."""
        if sentence not in self.note:
            self.note = f"{self.note}. {sentence}" if self.note else sentence

    def calls(self, kind: str) -> int:
        return sum(step.kind == kind for step in self.steps)

    @property
    def errors(self) -> list[float]:
        """Those that were measured and are finite, in percent."""
        return [step.error for step in self.steps if step.error is not None and math.isfinite(step.error)]

    @property
    def flops_speedup(self) -> float:
        return self.plain_flops / self.flops if self.flops else 1.0

    @property
    def seconds_saved(self) -> float | None:
        """An estimate from the run itself: how much longer its partial steps would have taken, had they been as long as its full ones.

        The first step, which warms up, does not count; None where there is no other full one.
        """
        whole = [step.seconds for step in self.steps[1:] if step.kind != "partial" and step.seconds]
        if not whole:
            return None
        spared = len(self.steps) / self.parts - sum(step.kind != "partial" for step in self.steps)
        return statistics.median(whole) * spared - sum(step.seconds for step in self.steps if step.kind == "partial")

    def summary(self) -> str:
        """The one log line of a run."""
        parts = f" ({len(self.steps) // self.parts} steps in {self.parts} parts each)" if self.parts > 1 else ""
        line = (f"ToCa ({self.preset}): {len(self.steps)} model evaluations{parts}, {self.calls('full') + self.calls('plain')} full and "
                f"{self.calls('partial')} partial; {self.flops_speedup:.2f}x fewer FLOPs, cache {self.cache_bytes / 2**20:.1f} MiB "
                f"(predicted {self.predicted_cache_bytes / 2**20:.1f}), {self.seconds:.2f} s")
        return f"{line}. {self.note}" if self.note else line

    def fresh_by_block(self) -> dict[str, list[float]]:
        """Of every module the share of fresh tokens in each block, mean over the partial steps; empty where no block ran on them."""
        told = [step.fresh_per_block for step in self.steps if step.kind == "partial" and step.fresh_per_block]
        return {name: [statistics.fmean(shares) for shares in zip(*(blocks[name] for blocks in told if name in blocks), strict=True)]
                for name in dict.fromkeys(name for blocks in told for name in blocks)}

    def lines(self) -> list[str]:
        """The run in words, for people."""
        saved, measured = self.seconds_saved, [step.error for step in self.steps if step.error is not None]
        errors = self.errors
        estimate = f", about {saved:.2f} s saved (estimated from its full steps)" if saved and saved > 0 else ""
        why = f" ({self.why_level})" if self.why_level else ""
        parts = f", each of {len(self.steps) // self.parts} steps in {self.parts} parts" if self.parts > 1 else ""
        words = [f"{self.model}, preset {self.preset}, level {self.settings['level']}{why}",
                 f"{len(self.steps)} evaluations{parts}: {self.calls('full')} full, {self.calls('partial')} partial, "
                 f"{self.calls('plain')} plain" + (f", {self.calls('other')} answered by another node" if self.calls("other") else ""),
                 f"{self.flops_speedup:.2f}x fewer FLOPs; {self.seconds:.2f} s{estimate}",
                 f"Cache {readable(self.cache_bytes)}, predicted {readable(self.predicted_cache_bytes)}"]
        if errors:
            words.append(f"Forecast errors at full steps: {statistics.median(errors):.2g}% in the median, {max(errors):.2g}% at most")
        if broken := len(measured) - len(errors):
            be = "is" if broken == 1 else "are"
            words.append(f"{broken} of {len(measured)} errors measured {be} not finite: the model gave NaN or inf")
        if not self.calls("partial") and not self.note:
            words.append("Nothing was cached: no step lay between start_percent and end_percent and was due to be partial")
        return [*words, self.note] if self.note else words

    def as_dict(self) -> dict:
        return {**asdict(self), "flops_speedup": self.flops_speedup, "estimated_seconds_saved": self.seconds_saved,
                "calls": {kind: self.calls(kind) for kind in ("full", "partial", "plain", "other")}}
