"""Memory for the caches of a run: what the host has free, and what of it they may take."""

import torch

import comfy.model_management as management

from ...toca_core.keep.memory import GB, Budget

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
