"""Models whose blocks run self-attention -> [cross-attention] -> MLP, each a sub-module: DiT, PixArt, ...

On a full step every module computes all tokens and its output is kept. On a partial step self-attention is reused as
a whole, cross-attention and MLP compute their fresh tokens on the current residual stream and scatter them into what
is kept (paper, section 3.2). Only the modules' own forwards are called; the host's block code stays as it is.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from .. import attention, flops
from ..cache import ModuleCache
from ..config import MODULES, ToCaConfig
from ..schedule import Cycle, Step, fresh_counts
from ..selection import Selector
from ..swap import swapped


@dataclass(frozen=True)
class SequentialLayout:
    """Where a model keeps what; one row of the model table.

    modules        module name -> attribute of a block
    projections    module name -> attributes of the linear layers that make its queries and keys: one fused "qkv" layer,
                   or a query layer and a fused "kv" layer
    per_token, per_context    modules outside the blocks that run once per token or per context token (for the FLOPs)
    """
    system: str
    modules: dict[str, str]
    projections: dict[str, tuple[str, ...]]
    grid: Callable[[nn.Module, tuple[int, ...]], tuple[int, int]]
    blocks: str = "blocks"
    per_token: tuple[str, ...] = ("x_embedder", "final_layer.linear")
    per_context: tuple[str, ...] = ()

    def bind(self, model: nn.Module) -> "SequentialModel":
        return SequentialModel(self, model)


class SequentialModel:
    """A layout applied to a loaded model: its modules by (name, block), its depth and what its parts cost."""

    def __init__(self, layout: SequentialLayout, model: nn.Module):
        self.layout, self.model = layout, model
        blocks = model.get_submodule(layout.blocks)
        self.depth = len(blocks)
        self.names = tuple(name for name in MODULES if name in layout.modules)
        self.modules = {(name, index): block.get_submodule(layout.modules[name])
                        for name in self.names for index, block in enumerate(blocks)}
        self.width = self.modules["self_attn", 0].get_submodule(layout.projections["self_attn"][0]).in_features
        self.macs = {name: flops.macs(self.modules[name, 0]) for name in self.names}
        self.context_macs = self._context_macs()
        token = sum(flops.macs(model.get_submodule(path)) for path in layout.per_token)
        context = sum(flops.macs(model.get_submodule(path)) for path in layout.per_context)
        sample = flops.macs(model) - token - context - sum(flops.macs(module) for module in self.modules.values())
        self.outside = (sample, token, context)

    def _context_macs(self) -> int:
        if "cross_attn" not in self.names:
            return 0
        return flops.macs(self.modules["cross_attn", 0].get_submodule(self.layout.projections["cross_attn"][-1]))

    def module_flops(self, name: str, batch: int, tokens: int, total: int, context: int) -> int:
        """Cost of one module for `tokens` of `total` tokens; `context` counts the context tokens of the whole batch."""
        if name == "mlp" or tokens == 0:
            return 2 * batch * tokens * self.macs[name]
        if name == "self_attn":
            return 2 * batch * tokens * self.macs[name] + flops.attention(batch, tokens, total, self.width)
        linear = 2 * batch * tokens * (self.macs[name] - self.context_macs) + 2 * context * self.context_macs
        return linear + flops.attention(batch, tokens, context // batch, self.width)

    def outside_flops(self, batch: int, tokens: int, context: int) -> int:
        sample, token, per_context = self.outside
        return 2 * (batch * sample + batch * tokens * token + context * per_context)

    def plain_flops(self, batch: int, tokens: int, context: int) -> int:
        """One call of the whole model with nothing cached."""
        blocks = sum(self.module_flops(name, batch, tokens, tokens, context) for name in self.names) * self.depth
        return blocks + self.outside_flops(batch, tokens, context)

    def new_cache(self, config: ToCaConfig, shape: tuple[int, ...], seed: int) -> ModuleCache:
        return ModuleCache(Selector(config, self.depth, self.names[1:], self.layout.grid(self.model, shape), seed))

    def call(self, cache: ModuleCache, config: ToCaConfig, step: Step, cycle: Cycle, conds: int, full: bool):
        return (FullCall if full else PartialCall)(self, cache, config, step, cycle, conds)


class Call:
    """One call of the model for one group of conditionings. `replacements` are the forwards to swap in for its length."""

    def __init__(self, bound: SequentialModel, cache: ModuleCache, config: ToCaConfig, step: Step, cycle: Cycle, conds: int):
        self.bound, self.cache, self.config, self.step, self.cycle, self.conds = bound, cache, config, step, cycle, conds
        self.selector = cache.selector
        self.flops = self.plain_flops = 0
        self.fresh = {name: 0.0 for name in bound.names}

    def replacements(self):
        for (name, block), module in self.bound.modules.items():
            yield module, Replacement(self, name, block, module.forward)

    def run_module(self, name, block, x, compute):
        """x (B, N, C) -> (fresh tokens per item, output (B, N, C))."""
        raise NotImplementedError

    def count(self, name: str, x, fresh: int, context: int):
        batch, tokens = x.shape[:2]
        self.fresh[name] += fresh / tokens / self.bound.depth
        self.flops += self.bound.module_flops(name, batch, fresh, tokens, context)
        self.plain_flops += self.bound.module_flops(name, batch, tokens, tokens, context)

    def count_outside(self, batch: int, tokens: int, context: int):
        outside = self.bound.outside_flops(batch, tokens, context)
        self.flops += outside
        self.plain_flops += outside

    def scored(self, name: str, block: int, compute):
        """Run a module and read its queries and keys on the way: -> (output, q, k), both (B, heads, N, d)."""
        module = self.bound.modules[name, block]
        seen = []

        def watch(forward):
            def run(*args, **kwargs):
                seen.append(forward(*args, **kwargs))
                return seen[-1]
            return run

        layers = [module.get_submodule(path) for path in self.bound.layout.projections[name]]
        with swapped((layer, watch(layer.forward)) for layer in layers):
            output = compute()
        q = seen[0].chunk(3, dim=-1)[0] if len(seen) == 1 else seen[0]
        k = seen[0].chunk(3, dim=-1)[1] if len(seen) == 1 else seen[1].chunk(2, dim=-1)[0]
        batch = output.shape[0]
        return output, *(attention.split_heads(x.reshape(batch, -1, output.shape[-1]), module.num_heads) for x in (q, k))

    def cross_entropy(self, q, k):
        """s2's basis, (B / conds, n): the group's conditionings are averaged, so that all get the same selection."""
        self.flops += 2 * q.shape[0] * q.shape[2] * k.shape[2] * q.shape[1] * q.shape[3]
        return attention.entropy(q, k, self.conds)


class Replacement:
    """The forward of one module for the length of one call."""

    def __init__(self, call: Call, name: str, block: int, forward: Callable):
        self.call, self.name, self.block, self.forward = call, name, block, forward

    @torch.compiler.disable(recursive=False)    # which tokens are fresh must not be frozen into a compiled graph; what runs inside may be
    def __call__(self, x, *args, **kwargs):
        def compute(tokens):
            return self.forward(tokens, *args, **kwargs)
        context = args[0].shape[:-1].numel() if self.name == "cross_attn" else 0
        fresh, output = self.call.run_module(self.name, self.block, x, compute)
        self.call.count(self.name, x, fresh, context)
        return output


class FullCall(Call):
    """Every token of every module, and the scores for the cycle that follows."""

    def __init__(self, *args):
        super().__init__(*args)
        self.scores_needed = self.config.score != "random" and self.selects_ahead()
        self.started = False

    def selects_ahead(self) -> bool:
        """Whether any partial step before the next full one can have fresh tokens; ratios are linear in the step, so the ends tell."""
        ahead = self.cycle.partial_steps_ahead(self.step)
        ends = (self.step, Step(self.step.index + ahead, self.step.position + ahead, self.step.total))
        return ahead > 0 and any(any(fresh_counts(self.config, step, name, self.bound.depth, 1 << 20))
                                 for step in ends for name in self.selector.modules)

    def run_module(self, name, block, x, compute):
        if not self.started:
            self.started = True
            self.selector.renew(x.shape[0] // (1 if self.config.score == "self_attn" else self.conds), x.shape[1], x.device)
        if self.scores_needed and name == self.config.score:
            output, q, k = self.scored(name, block, lambda: compute(x))
            self.selector.basis[block] = self.basis(name, q, k)
        else:
            output = compute(x)
        self.cache.store(name, block, output)
        return x.shape[1], output

    def basis(self, name, q, k):
        if name == "cross_attn":
            return self.cross_entropy(q, k)
        self.flops += 2 * q.shape[0] * q.shape[2] * k.shape[2] * q.shape[1] * q.shape[3]
        return attention.received(q, k)


class PartialCall(Call):
    """Fresh tokens only; the rest from the cache."""

    def __init__(self, *args):
        super().__init__(*args)
        tokens = self.cache.load(self.bound.names[0], 0).shape[1]
        self.counts = {name: fresh_counts(self.config, self.step, name, self.bound.depth, tokens) for name in self.selector.modules}
        self.changing = self.config.score == "cross_attn" and any(self.counts.get("cross_attn", ()))
        self.selected = {}                                          # (module, block) -> indices (b, n), for those who look
        self.plans = {name: self.selector.plan(name, counts) for name, counts in self.counts.items() if not self.rescored(name)}

    def rescored(self, name: str) -> bool:
        """Cross-attention renews s2's rows before the MLP of the same block selects by them, so that cannot be planned ahead."""
        return name == "mlp" and self.changing

    def run_module(self, name, block, x, compute):
        kept = self.cache.load(name, block)
        count = self.counts[name][block] if name in self.counts else 0
        if self.rescored(name):
            fresh = self.selector.select(name, block, count)
        elif count:
            fresh = self.plans[name][block]
        if count == 0:
            return 0, kept
        self.selected[name, block] = fresh
        rows = self.flat_rows(fresh, x.shape)
        tokens = x.flatten(0, 1).index_select(0, rows).unflatten(0, (x.shape[0], count))            # (B, n, C)
        if name == "cross_attn" and self.changing:
            output, q, k = self.scored(name, block, lambda: compute(tokens))
            self.selector.basis[block].scatter_(-1, fresh, self.cross_entropy(q, k))
        else:
            output = compute(tokens)
        kept.view(-1, kept.shape[-1]).index_copy_(0, rows, output.flatten(0, 1))
        return count, kept

    def flat_rows(self, fresh, shape):
        """Indices (b, n) into tokens -> indices (B * n,) into (B * N) rows; b divides B where conditionings share a selection."""
        batch, tokens = shape[:2]
        fresh = fresh.repeat(batch // fresh.shape[0], 1)
        return (fresh + torch.arange(0, batch * tokens, tokens, device=fresh.device)[:, None]).flatten()
