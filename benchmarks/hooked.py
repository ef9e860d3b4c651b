"""A MODEL whose calls are counted and answered one by one, step by step: what the benches change in a run that no setting changes."""

from collections.abc import Callable

import torch

from tools.pack import load_host, pack_module

load_host(cpu=not torch.cuda.is_available())
from comfy.patcher_extension import WrappersMP

calls, probe, stack, cache, config = (pack_module(name) for name in (
    "nodes.host.calls", "toca_core.calls.probe", "toca_core.calls.stack", "toca_core.keep.cache", "toca_core.config"))
KEY = "bench"
STACK = config.ToCaConfig(level="stack")


class Hooked:
    """
    index      of the evaluation, from 0 on
    ordinal    of the call in it, from 1 on
    """

    def __init__(self, model):
        self.model = model.clone()
        self.model.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, KEY, self.predict_noise)
        self.model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, KEY, self.apply_model)
        self.index, self.ordinal = -1, 0

    def predict_noise(self, executor, *args, **kwargs):
        self.index, self.ordinal = self.index + 1, 0
        return executor(*args, **kwargs)

    def apply_model(self, executor, x, t, c_concat=None, c_crossattn=None, control=None, transformer_options={}, **kwargs):
        def call():
            return executor(x, t, c_concat, c_crossattn, control, transformer_options, **kwargs)

        self.ordinal += 1
        return self.called(call, calls.about_call(executor, x, c_crossattn, {"control": control, **kwargs}, transformer_options))

    def called(self, call: Callable, about: tuple):
        """What one call says; about: (the model's bound layout, sizes, how many conditionings)."""
        raise NotImplementedError


def of_a_call(bound, sizes, conds: int):
    """A full call at level stack, and an empty cache for it."""
    return probe.probing(bound, sizes, conds, frozenset(bound.layout.kinds)), cache.StackCache(STACK)
