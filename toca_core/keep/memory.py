"""How many bytes a cache will hold, and what is kept instead where that is too much. Numbers in, numbers out."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import torch

from ..config import ToCaConfig
from .storage import has_fp8, piece

NUMBER = 4              # bytes of a trust, a scale, a score or an age, all float32
GB = 1 << 30
NO_FP8 = "This device has no fp8: the cache is kept in bf16"
IN_HOST = "kept in the host's memory instead"
ITEMSIZE = {"bf16": 2, "fp8": 1}
COPIES = 8              # float32 copies, at most, of a piece of a feature that is compared with its forecast


@dataclass(frozen=True)
class Need:
    """Bytes of what modules returned, as it is stored, and of what is kept beside it on the model's device: trust, scores, ages.

    passing    what full steps take there for a moment, one call or module after the other
    """
    features: float = 0
    beside: float = 0
    passing: float = field(default=0, compare=False)

    def __add__(self, other):
        return Need(self.features + other.features, self.beside + other.beside, max(self.passing, other.passing))

    def __mul__(self, factor: float):
        return Need(self.features * factor, self.beside * factor, self.passing)

    @property
    def total(self) -> int:
        return round(self.features + self.beside)


@dataclass(frozen=True)
class Budget:
    """Bytes that may be used on the model's device, and in the host's memory; None where the model runs there itself.

    given    a user set it, so the same run always has it; what merely happens to be free must not change a picture
    fp8      whether the device has it
    """
    device: float
    host: float | None = None
    given: bool = True
    fp8: bool = True

    def limit(self, config: ToCaConfig) -> float:
        """Of the memory where a cache with these settings lies."""
        return self.device if config.cache_device == "gpu" or self.host is None else self.host

    def holds(self, need: Need, config: ToCaConfig) -> bool:
        """Of what happens to be free the full steps take their part too; a user's number is that of the cache."""
        room = self.device if self.given else self.device - need.passing
        if config.cache_device == "gpu" or self.host is None:
            return need.total <= room
        return need.features <= self.host and need.beside <= room


def vector_bytes(width: int, itemsize: int, dtype: str) -> int:
    """One token's feature of `width` numbers of `itemsize` bytes as `storage.Store` keeps it; fp8 has a scale beside it."""
    kept = min(itemsize, ITEMSIZE.get(dtype, itemsize))
    return width * kept + (NUMBER if dtype == "fp8" and kept < itemsize else 0)


def anchored(config: ToCaConfig, tokens: int, width: int, itemsize: int, keep: int = 0) -> Need:
    """The anchors of one feature (tokens, width), all of them, and the trust in them. keep: as in `forecast.Anchors`"""
    order = config.forecast_order
    features = (keep or order + 1) * tokens * vector_bytes(width, itemsize, config.cache_dtype)
    learns = config.trust and order
    return Need(features, NUMBER * tokens if learns else 0, compared(tokens * width) if learns else 0)


def compared(numbers: int) -> int:
    """What comparing a feature of so many numbers with its forecast takes for a moment."""
    return COPIES * NUMBER * piece(numbers)


def passing(config: ToCaConfig, numbers: int, itemsize: int) -> int:
    """What a full step takes beside the anchors of a feature: the newest one, while the oldest is still there, all of them where they lie
    in the host's memory, and what comparing them takes."""
    whole = 1 + (config.order + 1 if config.cache_device == "cpu" else 0)
    return whole * numbers * itemsize + compared(numbers)


def attended(config: ToCaConfig, numbers: int, itemsize: int) -> Need:
    """The anchors of keys and of values, `numbers` of each; they stay on the model's device, as they are."""
    return Need(beside=(config.order + 1) * 2 * numbers * itemsize)


def selected(depth: int, tokens: int, modules: int) -> Need:
    """Scores of one stream's tokens (those of all samples) in every block, and an age for each of its modules (`selection.Selector`)."""
    return Need(beside=NUMBER * depth * tokens * (1 + modules))


def alternatives(config: ToCaConfig, offload: bool, lossy: bool = True) -> Iterator[tuple[ToCaConfig, str]]:
    """What takes less than these settings, in the order in which it is tried, with words for the report.

    offload: whether there is a host memory beside the model's device; lossy: whether the picture may change.
    """
    if not lossy:
        if offload and config.cache_device == "gpu":
            yield replace(config, cache_device="cpu"), IN_HOST
        return
    for dtype in {"same": ("bf16", "fp8"), "bf16": ("fp8",)}.get(config.cache_dtype, ()):
        yield replace(config, cache_dtype=dtype), f"kept in {dtype} instead"
    if offload and config.cache_device == "gpu":
        yield replace(config, cache_device="cpu"), IN_HOST
    if config.level == "module":
        yield replace(config, level="stack"), "one residual for all blocks is kept instead (level stack)"
    if config.level == "module" or config.level == "stack" and config.order:
        yield replace(config, level="stack", order=0), "the last residual of all blocks is kept instead (level stack, order 0)"
    if config.level != "output":
        yield replace(config, level="output"), "what the model predicts is kept instead (level output)"


def choose(config: ToCaConfig, need_of: Callable[[ToCaConfig], Need], budget: Budget) -> tuple[ToCaConfig | None, str]:
    """The first settings whose cache the budget holds, and why it is not those wanted; None where it holds none."""
    if config.cache_dtype == "fp8" and not budget.fp8:
        chosen, why = choose(replace(config, cache_dtype="bf16"), need_of, budget)
        return chosen, ". ".join(filter(None, (NO_FP8, why)))
    wanted = need_of(config)
    if budget.holds(wanted, config):
        return config, ""
    too_much = f"The cache would take {readable(wanted.total)} of a budget of {readable(budget.limit(config))}"
    for other, words in alternatives(config, budget.host is not None, budget.given):
        need = need_of(other)
        if budget.holds(need, other) and not other.always_full and (budget.fp8 or other.cache_dtype != "fp8"):
            return other, f"{too_much}: {words}, {readable(need.total)}"
    if budget.given:
        return None, f"{too_much}, and nothing smaller fits either: nothing is cached"
    return None, (f"{too_much}, which is what is free: nothing is cached, since a smaller cache would change the picture. To allow "
                  f"that, set memory_budget; level stack or output, or a smaller picture, needs less")


def readable(count: float) -> str:
    """7.5 GB, 3.2 MB, 40 bytes; a GB is 2**30 bytes, and less than nothing is nothing."""
    for size, unit in ((GB, "GB"), (1 << 20, "MB"), (1 << 10, "KB")):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{max(0, int(count))} bytes"


ALLOCATORS = ("out of memory", "defaultcpuallocator", "allocation on device")       # of CUDA, HIP, MPS, XPU; of the CPU; of cudaMallocAsync


def out_of_memory(error: BaseException) -> bool:
    """Whether an allocator says that there is no memory, on whatever device (`comfy/model_management.py`, is_oom)."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in ALLOCATORS)


class MemoryPlan:
    """What the caches of one sampling run may take; settled when the first of them is to be made.

    host             says what is free: has `itemsize`, bytes of one number of the tokens, and budget(gigabytes, shape, device); None
                     where everything is
    conditionings    how many the host computes in this evaluation
    """

    def __init__(self, host):
        self.host, self.budget, self.conditionings = host, None, 1

    def open(self, config, x, together):
        """Ask the host what is free beside a call on x (B, C, ...); of several processes the one with the least decides."""
        unbounded = Budget(config.memory_budget * GB or math.inf, given=config.memory_budget > 0)
        found = unbounded if self.host is None else self.host.budget(config.memory_budget, x.shape, x.device)
        host = None if found.host is None else together.least(found.host)
        self.budget = replace(found, device=together.least(found.device), host=host, fp8=has_fp8(x.device))

    @property
    def itemsize(self) -> int:
        return NUMBER if self.host is None else self.host.itemsize

    def limit(self, config) -> str:
        return readable(self.budget.limit(config))

    def choose(self, config, need_of):
        """Settings whose caches fit, or None, and why it is not these."""
        return choose(config, need_of, self.budget)
