"""Memory for the caches of a run: what the host has free, what of it they may take, and how the host is told of it."""

import torch

import comfy.model_management as management

from ...toca_core.keep.memory import GB, Budget, Need
from .calls import plain_model, sizes_of

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
        free = given * GB or max(self.free(device) - reserve, ALWAYS_FREE * reserve)
        if device.type == "cpu":
            return Budget(free, given=given > 0)
        host = management.get_free_memory(torch.device("cpu")) - management.minimum_inference_memory()
        return Budget(free, host / 2, given > 0)                    # pinned memory comes in powers of two: up to twice what is asked for

    def free(self, device) -> float:
        """As the host reads it for this model, some of whose weights may give way."""
        patcher = getattr(self.model, "current_patcher", None)
        return management.get_free_memory(device) if patcher is None else patcher.get_free_memory(device)


def with_room(run, patcher, noise_shape, conds: dict):
    """The shape of the noise, to which the host makes room for a run's calls, enlarged so that its cache has room too.

    It goes into nothing but that estimate (`comfy/sampler_helpers.py`, estimate_memory). conds: the guider's, name -> [conditioning].
    """
    need = cached(run, patcher, noise_shape, [cond for group in conds.values() for cond in group or ()])
    beside = need.beside + (need.features if run.config.cache_device == "gpu" else 0)
    both = [2 * noise_shape[0], *noise_shape[1:]]
    needed = min(beside, run.config.memory_budget * GB or beside)
    return [noise_shape[0] * (1 + needed / max(patcher.model.memory_required(both), 1)), *noise_shape[1:]]


def cached(run, patcher, noise_shape, conds: list) -> Need:
    """What a run's caches will take, from what is known before the first call."""
    texts = [cond["cross_attn"] for cond in conds if torch.is_tensor(cond.get("cross_attn"))]
    longest = max(texts, key=lambda text: text.shape[-2], default=None)
    latent = torch.empty(list(noise_shape), device="meta")
    context = None if longest is None else longest[:1].expand(latent.shape[0], *longest.shape[1:])
    try:
        sizes = sizes_of(plain_model(patcher.get_model_object("diffusion_model")), latent, context, {})
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):       # an entry may ask for what only calls have
        return Need()
    return run.foreseen(sizes, max(1, len(conds)))
