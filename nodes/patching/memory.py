"""Memory for the caches of a run: what the host has free, and what of it they may take."""

import torch

import comfy.model_management as management

from ...toca_core import memory
from ...toca_core.memory import GB, Budget, readable

ALWAYS_FREE = 0.2


class HostMemory:
    """For one model of the host (BaseModel)."""

    def __init__(self, model):
        self.model = model

    @property
    def itemsize(self) -> int:
        """Bytes of one number of the tokens, which are in the dtype that the model computes in."""
        return self.model.get_dtype_inference().itemsize

    def budget(self, given: float, shape, device) -> Budget:
        """Bytes for a cache on this device and in the host's memory.

        given: GB of the device, 0 for what is free beside a call on a latent of this shape (B, C, ...), and never less than
        a part of what the host reserves for that, which it estimates amply.
        """
        reserve = max(management.minimum_inference_memory(), self.model.memory_required(list(shape)) + management.extra_reserved_memory())
        free = given * GB or max(management.get_free_memory(device) - reserve, ALWAYS_FREE * reserve)
        if device.type == "cpu":
            return Budget(free)
        host = management.get_free_memory(torch.device("cpu")) - management.minimum_inference_memory()
        return Budget(free, host / 2)                               # pinned memory comes in powers of two: up to twice what is asked for


class MemoryPlan:
    """What the caches of one sampling run may take; settled when the first of them is to be made.

    conditionings    how many the host computes in this evaluation
    needs            what each cache will hold at most
    """

    def __init__(self, host: HostMemory):
        self.host, self.budget, self.needs, self.conditionings = host, None, {}, 1

    def open(self, config, x):
        """Ask the host what is free beside a call on x (B, C, ...)."""
        self.budget = self.host.budget(config.memory_budget, x.shape, x.device)

    def limit(self, config) -> str:
        return readable(self.budget.limit(config))

    def choose(self, config, need_of):
        """Settings whose caches fit, or None, and why it is not these."""
        return memory.choose(config, need_of, self.budget)

    def admit(self, key, need, config, held) -> int:
        """Room for one more cache beside those held: the bytes of them all, 0 where the budget does not hold them."""
        self.needs = {other: self.needs[other] for other in held}
        total = sum(self.needs.values(), start=need)
        if not self.budget.holds(total, config):
            return 0
        self.needs[key] = need
        return total.total
