"""What is kept between steps for one group of conditionings that the host computes together."""

import torch

from .selection import Selector


class ModuleCache:
    """Each module's last output before its gate, (B, N, C), and the selector that says which of its tokens to renew.

    One instance per group and sampling run; `B` spans the group's conditionings. The tensors are what the modules
    returned: a block that wrote into them in place would corrupt the cache, so only models whose blocks do not are
    listed in the model table.
    """

    def __init__(self, selector: Selector):
        self.selector = selector
        self.features: dict[tuple[str, int], torch.Tensor] = {}

    def store(self, module: str, block: int, output):
        self.features[module, block] = output

    def load(self, module: str, block: int):
        return self.features[module, block]

    @property
    def bytes(self) -> int:
        return sum(feature.nbytes for feature in self.features.values()) + self.selector.bytes
