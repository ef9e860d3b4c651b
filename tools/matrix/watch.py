"""Counts what models really compute in a run, evaluation by evaluation, whatever a report says of it."""

import threading
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from comfy.patcher_extension import WrappersMP

KEY = "matrix"


@dataclass
class Work:
    """
    numbers     of each evaluation: how many numbers went into the model's layers
    calls       of the model by the host, before ToCa Cache sees them
    """
    numbers: list[int] = field(default_factory=list)
    calls: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)    # on several devices each is called from a thread of its own

    def predict_noise(self, executor, *args, **kwargs):
        self.numbers.append(0)
        return executor(*args, **kwargs)

    def apply_model(self, executor, *args, **kwargs):
        with self.lock:
            self.calls += 1
        return executor(*args, **kwargs)

    def before(self, model):
        """A clone of a MODEL that counts; it has to come before ToCa Cache."""
        model = model.clone()
        model.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, KEY, self.predict_noise)
        model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, KEY, self.apply_model)
        return model

    @contextmanager
    def watching(self, patchers: list):
        """As long as it lasts, the layers of these MODELs are watched."""
        layers = {id(layer) for patcher in patchers for layer in patcher.model.diffusion_model.modules() if not list(layer.children())}

        def entered(layer, given):
            if id(layer) in layers and self.numbers and given and isinstance(given[0], torch.Tensor):
                with self.lock:
                    self.numbers[-1] += given[0].numel()
        handle = torch.nn.modules.module.register_module_forward_pre_hook(entered)
        try:
            yield self
        finally:
            handle.remove()
