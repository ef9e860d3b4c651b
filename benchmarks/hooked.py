"""A MODEL whose calls are answered one by one: what the benches change in a run that no setting changes."""

import torch

from tools.pack import load_host, pack_module

load_host(cpu=not torch.cuda.is_available())
calls, probe, stack, cache, config = (pack_module(name) for name in (
    "nodes.host.calls", "toca_core.calls.probe", "toca_core.calls.stack", "toca_core.keep.cache", "toca_core.config"))
KEY = "bench"
STACK = config.ToCaConfig(level="stack")


class Hooked(calls.CallByCall):
    def __init__(self, model):
        super().__init__()
        self.model = self.put_on(model, KEY)


def of_a_call(bound, sizes, conds: int):
    """A full call at level stack, and an empty cache for it."""
    return probe.probing(bound, sizes, conds, frozenset(bound.layout.kinds)), cache.StackCache(STACK)


class ChangedCall(stack.StackCall):
    """A full call, whose tokens go on with another residual than theirs: change(tokens before the blocks, residual) -> that."""

    def __init__(self, about, change):
        super().__init__(*of_a_call(*about), skip=False)
        self.change = change

    def leave(self, tokens):
        return self.tokens + self.change(self.tokens, tokens - self.tokens)
