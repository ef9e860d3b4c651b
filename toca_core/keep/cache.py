"""What is kept between steps for one group of conditionings that the host computes together."""

from ..config import ToCaConfig
from ..select.selection import Selector
from .forecast import Anchors
from .storage import Store


class ModuleCache:
    """Each module's last output before its gate, (B, N, C), and per stack and stream the selector that says which tokens to renew.

    One instance per group and sampling run; `B` spans the group's conditionings. The tensors are what the modules
    returned: a block that wrote into them in place would corrupt the cache, so where a block does, its family keeps a copy.
    Where stale tokens are forecast, the last outputs are anchors, and what is loaded is a tensor of its own.
    """

    def __init__(self, config: ToCaConfig, selectors: dict[tuple[str, str], Selector]):
        self.config, self.selectors = config, selectors
        self.features: dict[tuple, Anchors] = {}
        self.kept_in = Store(config.cache_dtype, config.cache_device)
        self.after: dict[tuple | None, tuple] = {}                  # which entry was loaded after which, to fetch it ahead
        self.last: tuple | None = None

    def store(self, site, block: int, output, time: float):
        anchors = self.features.get((site, block))
        if anchors is None:
            order = self.config.forecast_order
            anchors = self.features[site, block] = Anchors(order, self.config.basis, self.config.trust and order > 0, self.kept_in)
        anchors.add(time, output)

    def renew(self, site, block: int, output):
        """What `load` gave, with some of its tokens computed anew, takes the place of what is kept."""
        self.features[site, block].renew(output)

    def load(self, site, block: int, x, time: float):
        """What is known of the output for tokens like x (B, N, C); None where there is nothing, or for another number of tokens."""
        anchors = self.features.get((site, block))
        if anchors is None or not anchors.fits(x):
            return None
        known = anchors.newest() if self.config.stale_tokens == "reuse" else anchors.at(time)
        if self.kept_in.offload:
            self.fetch_ahead((site, block))                         # after its own entry, which would wait for this copy too
        return known

    def fetch_ahead(self, key):
        """Blocks run in the same order at every step: the entry that was loaded after this one is brought back meanwhile."""
        self.after[self.last], self.last = key, key
        following = self.features.get(self.after.get(key))
        if following is not None:
            following.fetch()

    @property
    def bytes(self) -> int:
        return sum(anchors.bytes for anchors in self.features.values()) + sum(selector.bytes for selector in self.selectors.values())


class OutputCache:
    """What a model said at the last full steps, number by number; (B, C, ...) of whatever shape the sample has.

    Its parts, where it has several, are continued each in a time of its own.
    """

    def __init__(self, config: ToCaConfig, parts: int = 1):
        store = Store(config.cache_dtype, config.cache_device)
        self.parts = [Anchors(config.order, config.basis, config.trust, store) for _ in range(parts)]

    def add(self, times: list[float], said: list):
        """said: of every part (B, numbers, 1)."""
        for anchors, time, part in zip(self.parts, times, said, strict=True):
            anchors.add(time, part)

    def at(self, times: list[float], like: list):
        """What is expected of every part at its time, in tensors of their own; None where nothing is known of parts like these."""
        if not all(anchors.fits(part) for anchors, part in zip(self.parts, like, strict=True)):
            return None
        return [anchors.at(time) for anchors, time in zip(self.parts, times, strict=True)]

    @property
    def bytes(self) -> int:
        return sum(anchors.bytes for anchors in self.parts)


class StackCache:
    """What all blocks together added to the picture's tokens at the last full steps."""

    def __init__(self, config: ToCaConfig):
        self.anchors = Anchors(config.order, config.basis, config.trust, Store(config.cache_dtype, config.cache_device))

    @property
    def bytes(self) -> int:
        return self.anchors.bytes
