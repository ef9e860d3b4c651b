"""Blocks in which attention and MLP run side by side out of one projection and into one: FLUX single blocks.

On a partial step the MLP half of the fresh tokens is computed anew and goes, with their kept attention, through the
block's output projection. Their queries, keys and values are not wanted, and not computed where the projection can do without.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from ..calls.module import BlockForward, Call
from ..costs import flops
from ..costs.account import Site, Sizes, StackCosts
from ..swap import swapped
from .contract import Claims
from .joint import no_overflow, per_token


@dataclass(frozen=True)
class ParallelStack:
    """A block has `modulation`, `pre_norm`, `linear1` (queries, keys, values, MLP in), `mlp_act` and `linear2`; the
    functions as in joint.py.

    later_outputs    (linear layer, start) -> a function that gives the layer's outputs from `start` on, or None where it has to be run
                     as it is
    grid, left_out    as in tokens.py

    What is kept per token: the attention's output before `linear2`, and what `linear2` returns.
    """
    name: str
    path: str
    watch: Callable
    attending: Callable
    later_outputs: Callable
    grid: str = "first"
    left_out: str = ""
    scores, modular, side = ("self_attn",), True, "last"

    @property
    def sites(self) -> tuple[Site, ...]:
        return Site(self.name, "attn", "self_attn"), Site(self.name, "mlp", "parallel_mlp")

    def bind(self, model: nn.Module) -> "BoundParallel":
        return BoundParallel(self, model)


@dataclass(eq=False)
class ParallelCosts(StackCosts):
    """Multiply-adds per token: linear_macs of the two projections, qkv_macs of what attention alone wants of them."""
    stack: ParallelStack
    depth: int
    width: int
    linear_macs: int
    qkv_macs: int

    def whole(self, site: Site, full: frozenset[str]) -> bool:
        """Where attention is computed, so is the MLP beside it."""
        return site.kind in full or "self_attn" in full

    def module_flops(self, site: Site, batch: int, fresh: int, total: int, sizes: Sizes) -> int:
        """The projections count with the MLP, whose fresh tokens go through both, but for what only attention wants."""
        if site.kind == "self_attn":
            return 2 * batch * fresh * self.qkv_macs + flops.attention(batch, fresh, total, self.width)
        return 2 * batch * fresh * (self.linear_macs - self.qkv_macs)

    def attending(self, sizes: Sizes) -> int:
        return sizes.tokens + sizes.context_each

    def tokens_of(self, site: Site, sizes: Sizes) -> int:
        return sizes.tokens + sizes.context_each

    def fresh_flops(self, sizes: Sizes, fresh: int) -> int:
        """Cost of all blocks for the text and `fresh` tokens of each picture, which attend to all."""
        computed, every = sizes.context_each + fresh, sizes.context_each + sizes.tokens
        return self.depth * sum(self.module_flops(site, sizes.batch, computed, every, sizes) for site in self.sites)


class BoundParallel(ParallelCosts):
    def __init__(self, stack: ParallelStack, model: nn.Module):
        claims = Claims(model, stack.name)
        self.blocks = claims.blocks(stack.path, stack.left_out)
        first: Any = self.blocks[0]
        for name in ("linear1", "linear2", "pre_norm", "mlp_act"):
            claims.module(name, first, "block's ")
        apart = all(stack.later_outputs(block.linear1, 3 * first.hidden_size) for block in self.blocks)
        super().__init__(stack, len(self.blocks), first.hidden_size, flops.macs(first.linear1) + flops.macs(first.linear2),
                         3 * first.hidden_size * first.linear1.in_features if apart else 0)
        self.attn, self.mlp = self.sites
        self.macs = self.depth * self.linear_macs

    @property
    def costs(self) -> ParallelCosts:
        return ParallelCosts(self.stack, self.depth, self.width, self.linear_macs, self.qkv_macs)

    def picture_in(self, args, kwargs):
        return args[0]

    def picture_out(self, output, count: int):
        """The picture's tokens come last."""
        return output[:, -count:]

    def passed(self, args, kwargs, picture=None):
        return args[0] if picture is None else self.changed(args[0], picture)

    def changed(self, output, picture):
        return torch.cat((output[:, :-picture.shape[1]], picture), dim=1)

    def fresh_in(self, args, kwargs, call, first: bool):
        x = args[0]
        text = x.shape[1] - (call.tokens.shape[1] if first else call.fresh.shape[-1])
        if first:
            x = torch.cat((x[:, :text], call.take(x[:, text:])), dim=1)
        return (x, *args[1:]), {**kwargs, "pe": call.take_positions(kwargs.get("pe"), text)}

    def fresh_out(self, output, call):
        text = output.shape[1] - call.fresh.shape[-1]
        return torch.cat((output[:, :text], call.placed(output[:, text:])), dim=1)

    def replacements(self, call: Call):
        return ParallelForward.of_all(self, call)


class ParallelForward(BlockForward):
    @torch.compiler.disable(recursive=False)    # as in sequential.py
    def __call__(self, x, vec, pe=None, **kwargs):
        kept = self.call.kept(self.stack.attn, self.index, x)
        if kept is None:
            return self.full(x, vec, pe, kwargs)
        return self.partial(x, kept, vec, kwargs.get("modulation_dims"))

    def full(self, x, vec, pe, kwargs):
        """The host's block; what goes into and comes out of its output projection is kept."""
        if self.scoring:
            kwargs = self.stack.stack.watch(kwargs, partial(self.score, x))
        changed = kwargs.get("modulation_dims") is not None         # the host then multiplies in place what it gets
        with swapped([(self.block.linear2, partial(self.keep, self.block.linear2.forward, changed))]):
            return self.forward(x, vec=vec, pe=pe, **kwargs)

    def keep(self, forward, changed, joined):
        """joined (B, N, C + hidden): attention's output, then the MLP's hidden units."""
        output = forward(joined)
        self.call.keep(self.stack.attn, self.index, joined[..., :self.stack.width].clone())
        self.call.keep(self.stack.mlp, self.index, output.clone() if changed else output)
        self.call.renew(self.stack.mlp, output)
        for site in self.stack.sites:
            self.call.count(site, self.index, output.shape[1], output.shape[1])
        return output

    def score(self, x, q, k):
        self.call.score(self.stack.mlp, self.index, x, self.call.received(self.stack, q, k))

    @torch.compiler.disable     # as in `Call.of_rows`
    def partial(self, x, kept, vec, dims):
        block = self.block
        modulation = block.modulation(vec)[0] if block.modulation else vec
        shift, scale, gate = (per_token(one, dims, x.shape[1]) for one in (modulation.shift, modulation.scale, modulation.gate))

        def compute(rows, take):
            own = (shift, scale) if shift.shape[1] == 1 else (take(shift), take(scale))
            hidden = self.mlp_in(torch.addcmul(own[0], block.pre_norm(rows), 1 + own[1]))
            return block.linear2(torch.cat((take(kept), activate(block, hidden)), dim=-1))

        self.call.count(self.stack.attn, self.index, x.shape[1], 0)
        output = self.call.run(self.stack.mlp, self.index, x, compute)
        return no_overflow(x.addcmul_(gate, output))                # in place, as the host's block does

    def mlp_in(self, x):
        """Of the first projection the MLP's hidden units."""
        start = 3 * self.stack.width
        later = self.stack.stack.later_outputs(self.block.linear1, start)
        return self.block.linear1(x)[..., start:] if later is None else later(x)


def activate(block, hidden):
    """The MLP's activation; some models split the hidden units into a value and a gate."""
    if getattr(block, "yak_mlp", False):
        value, gate = hidden.chunk(2, dim=-1)
        return block.mlp_act(gate) * value
    return block.mlp_act(hidden)
