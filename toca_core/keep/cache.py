"""What is kept between steps for one group of conditionings that the host computes together.

Every cache can be `divided` into those of the conditionings, and those can be `joined`; joined is None where they do not fit together.
"""

import copy
from dataclasses import replace
from typing import Any

from ..config import ToCaConfig
from ..select.attention import Queries
from ..select.selection import Selector
from .forecast import Anchors, Weights, taylor_weights
from .storage import Store


class ModuleCache:
    """Each module's last output before its gate, (B, N, C), and per stack and stream the selector that says which tokens to renew.

    One instance per group and sampling run; `B` spans the group's conditionings. The tensors are what the modules
    returned: a block that wrote into them in place would corrupt the cache, so where a block does, its family keeps a copy.
    Where stale tokens are forecast, the last outputs are anchors, and what is loaded is a tensor of its own.
    """

    def __init__(self, config: ToCaConfig, selectors: dict[tuple[str, str], Selector]):
        self.config, self.selectors, self.queries = config, selectors, Queries(config)
        self.features: dict[tuple, Anchors] = {}
        self.kept_in = Store(config.cache_dtype, config.cache_device)
        self.after: dict[tuple | None, tuple] = {}                  # which entry was loaded after which, to fetch it ahead
        self.last: tuple | None = None

    def store(self, site, block: int, output, time: float):
        anchors = self.features.get((site, block))
        if anchors is None:
            order = self.config.forecast_order
            anchors = self.features[site, block] = Anchors(order, self.config.trust and order > 0, self.kept_in)
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

    def divided(self, count: int) -> list["ModuleCache"]:
        features = {key: anchors.divided(count) for key, anchors in self.features.items()}
        selectors = {key: selector.divided(count) for key, selector in self.selectors.items()}
        parts = [ModuleCache(self.config, {key: each[index] for key, each in selectors.items()}) for index in range(count)]
        for index, part in enumerate(parts):
            part.features, part.kept_in = {key: each[index] for key, each in features.items()}, self.kept_in
        return parts

    @classmethod
    def joined(cls, parts: list["ModuleCache"]) -> "ModuleCache | None":
        first = parts[0]
        if any(part.features.keys() != first.features.keys() for part in parts):
            return None
        whole = ModuleCache(first.config, {key: Selector.joined([part.selectors[key] for part in parts]) for key in first.selectors})
        whole.kept_in = first.kept_in
        for key in list(first.features):
            anchors = Anchors.joined([part.features.pop(key) for part in parts])    # one by one, so that little is held twice
            if anchors is None:
                return None
            whole.features[key] = anchors
        return whole

    @property
    def bytes(self) -> int:
        return sum(anchors.bytes for anchors in self.features.values()) + sum(selector.bytes for selector in self.selectors.values())


class OutputCache:
    """What a model said at the last full steps, number by number; (B, C, ...) of whatever shape the sample has.

    Its parts, where it has several, are continued each in a time of its own. weights, keep: as in `forecast.Anchors`
    """

    def __init__(self, config: ToCaConfig, parts: int = 1, weights: Weights = taylor_weights, keep: int = 0):
        store = Store(config.cache_dtype, config.cache_device)
        self.parts = [Anchors(config.order, config.trust, store, weights, keep) for _ in range(parts)]

    def add(self, times: list[float], said: list):
        """said: of every part (B, numbers, 1)."""
        for anchors, time, part in zip(self.parts, times, said, strict=True):
            anchors.add(time, part)

    def fits(self, like: list) -> bool:
        """Whether something is known of parts like these."""
        return all(anchors.fits(part) for anchors, part in zip(self.parts, like, strict=True))

    def at(self, times: list[float]) -> list:
        """What is expected of every part at its time, in tensors of their own."""
        return [anchors.at(time) for anchors, time in zip(self.parts, times, strict=True)]

    def over(self, pieces) -> list:
        """Likewise of a sample without parts, the mean over pieces (time, width)."""
        return [self.parts[0].over(pieces)]

    def divided(self, count: int) -> list["OutputCache"]:
        parts = [copy.copy(self) for _ in range(count)]
        for part, *anchors in zip(parts, *(anchors.divided(count) for anchors in self.parts), strict=True):
            part.parts = anchors
        return parts

    @classmethod
    def joined(cls, parts: list["OutputCache"]) -> "OutputCache | None":
        whole = copy.copy(parts[0])
        whole.parts = [Anchors.joined(list(each)) for each in zip(*(part.parts for part in parts), strict=True)]
        return None if None in whole.parts else whole

    @property
    def bytes(self) -> int:
        return sum(anchors.bytes for anchors in self.parts)


class StackCache:
    """What all blocks together added to the picture's tokens at the last full steps, and what the model said there, where its error decides
    (`levels.stack`)."""

    def __init__(self, config: ToCaConfig):
        self.anchors = Anchors(config.order, config.trust, Store(config.cache_dtype, config.cache_device))
        self.said = OutputCache(replace(config, trust=False))

    def divided(self, count: int) -> list:
        parts = [copy.copy(self) for _ in range(count)]
        for part, anchors, said in zip(parts, self.anchors.divided(count), self.said.divided(count), strict=True):
            part.anchors, part.said = anchors, said
        return parts

    @classmethod
    def joined(cls, parts: list) -> Any:
        whole = copy.copy(parts[0])
        whole.anchors, whole.said = Anchors.joined([part.anchors for part in parts]), OutputCache.joined([part.said for part in parts])
        return None if whole.anchors is None or whole.said is None else whole

    @property
    def bytes(self) -> int:
        return self.anchors.bytes + self.said.bytes
