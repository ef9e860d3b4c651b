"""What is kept between steps for one group of conditionings that the host computes together."""

import torch

from .selection import Selector


class ModuleCache:
    """Each module's last output before its gate, (B, N, C), and per stack and stream the selector that says which tokens to renew.

    One instance per group and sampling run; `B` spans the group's conditionings. The tensors are what the modules
    returned: a block that wrote into them in place would corrupt the cache, so where a block does, its family keeps a copy.
    """

    def __init__(self, selectors: dict[tuple[str, str], Selector]):
        self.selectors = selectors
        self.features: dict[tuple, torch.Tensor] = {}

    def store(self, site, block: int, output):
        self.features[site, block] = output

    def load(self, site, block: int, x):
        """What was kept for tokens like x (B, N, C); None where there is nothing, or for another number of tokens."""
        kept = self.features.get((site, block))
        return kept if kept is not None and kept.shape[:2] == x.shape[:2] else None

    @property
    def bytes(self) -> int:
        return sum(feature.nbytes for feature in self.features.values()) + sum(selector.bytes for selector in self.selectors.values())
