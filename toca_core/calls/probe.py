"""How far off the output is when one module reuses what it returned some steps ago and all others are computed (paper, section 3).

The error that this makes in the model's output, block by block, is the module's sensitivity there.
"""

from collections.abc import Iterator

from ..config import ToCaConfig
from ..costs.account import Site, Sizes
from ..keep.cache import ModuleCache
from ..schedule import Cycle, Moment, Step
from .context import CallContext
from .module import Call, module_cache

REUSE = ToCaConfig(fresh_ratio=0.0, score="random")


def probes(bound) -> Iterator[tuple[str, tuple[Site, ...], int]]:
    """(name, the sites that reuse together, block) for every module of every block, in the order of the model."""
    for stack in bound.stacks:
        attention = tuple(site for site in stack.sites if site.kind == "self_attn")             # streams that attend jointly are one
        for block in range(stack.depth):
            yield attention[0].name, attention, block
            for site in stack.sites:
                if site.kind != "self_attn":                        # a parallel MLP goes through one projection with its attention
                    yield site.name, (site, *attention) if site.kind == "parallel_mlp" else (site,), block


def probing(bound, sizes: Sizes, conds: int, full: frozenset[str]) -> CallContext:
    return CallContext(REUSE, Cycle(REUSE), Moment(Step(0, 0, 1)), sizes, conds, full, bound)


class RecordCall(Call):
    """A full call, of which a new cache keeps what every module returned."""

    def __init__(self, bound, sizes: Sizes, conds: int):
        about = probing(bound, sizes, conds, frozenset(bound.layout.kinds))
        super().__init__(about, module_cache(about, seed=0))


class ProbeCall(Call):
    """One call in which the probed sites of one block reuse what a cache has of them. All others compute, and nothing is kept."""

    def __init__(self, bound, cache: ModuleCache, sizes: Sizes, conds: int, sites: tuple[Site, ...], block: int):
        super().__init__(probing(bound, sizes, conds, frozenset()), cache)
        self.probed = {(site, block) for site in sites}

    def kept(self, site: Site, block: int, x):
        return super().kept(site, block, x) if (site, block) in self.probed else None

    def choose(self, site: Site, block: int, x):
        """Not one token is fresh."""
        return None, None

    def keep(self, site: Site, block: int, output):
        """The cache stays that of the earlier step."""


def relative_error(output, reference) -> float:
    """Root of the mean square difference of two predictions (B, ...), relative to the reference; the mean over the samples."""
    difference, size = ((x.float().flatten(1).square().mean(1).sqrt()) for x in (output - reference, reference))
    return float((difference / size.clamp_min(1e-12)).mean())
