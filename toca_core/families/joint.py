"""Blocks in which two streams, picture and text, attend jointly and then go through an MLP each: FLUX double blocks.

The attention is written out inside the host's block, so a full step runs the host's block with its sub-modules watched,
and a partial step runs the short forward below: gates, kept attention, fresh rows of the MLPs.
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

STREAMS = ("img", "txt")


@dataclass(frozen=True)
class JointStack:
    """A block has, for both streams, `_mod`, `_norm2`, `_attn` (with `proj`) and `_mlp`; text comes first in the attention.

    attending    as in sequential.py
    watch    (the block's keyword arguments, seen) -> them again, so that the attention inside calls seen(q, k), (B, heads, N, d)
    grid, left_out    as in tokens.py
    """
    name: str
    path: str
    watch: Callable
    attending: Callable
    grid: str = "first"
    left_out: str = ""
    scores, modular, side = ("self_attn",), True, "all"

    @property
    def sites(self) -> tuple[Site, ...]:
        return tuple(Site(self.name, f"{stream}_{part}", kind, stream)
                     for part, kind in (("attn", "self_attn"), ("mlp", "mlp")) for stream in STREAMS)

    def bind(self, model: nn.Module) -> "BoundJoint":
        return BoundJoint(self, model)


@dataclass(eq=False)
class JointCosts(StackCosts):
    """macs_of: multiply-adds per token of every site."""
    stack: JointStack
    depth: int
    width: int
    macs_of: dict[Site, int]

    def module_flops(self, site: Site, batch: int, fresh: int, total: int, sizes: Sizes) -> int:
        linear = 2 * batch * fresh * self.macs_of[site]
        if site.kind == "mlp" or fresh == 0:
            return linear
        return linear + flops.attention(batch, fresh, sizes.tokens + sizes.context_each, self.width)

    def attending(self, sizes: Sizes) -> int:
        return sizes.tokens + sizes.context_each

    def tokens_of(self, site: Site, sizes: Sizes) -> int:
        return {"img": sizes.tokens, "txt": sizes.context_each}[site.stream]

    def fresh_flops(self, sizes: Sizes, fresh: int) -> int:
        """Cost of all blocks for the text and `fresh` tokens of each picture, which attend to all."""
        lengths = {"img": fresh, "txt": sizes.context_each}
        return self.depth * sum(self.module_flops(site, sizes.batch, lengths[site.stream], lengths[site.stream], sizes)
                                for site in self.sites)


class BoundJoint(JointCosts):
    def __init__(self, stack: JointStack, model: nn.Module):
        claims = Claims(model, stack.name)
        self.blocks = claims.blocks(stack.path, stack.left_out)
        first: Any = self.blocks[0]
        for name in ("img", "txt"):
            claims.argument(first, name)
        macs_of = {site: flops.macs(claims.module(site.module, first, "block's ")) for site in stack.sites}
        super().__init__(stack, len(self.blocks), first.hidden_size, macs_of)
        self.site = {site.module: site for site in self.sites}
        self.macs = self.depth * sum(macs_of.values())

    @property
    def costs(self) -> JointCosts:
        return JointCosts(self.stack, self.depth, self.width, self.macs_of)

    def picture_in(self, args, kwargs):
        return kwargs["img"]

    def picture_out(self, output, count: int):
        return output[0]

    def passed(self, args, kwargs, picture=None):
        return kwargs["img"] if picture is None else picture, kwargs["txt"]

    def changed(self, output, picture):
        return picture, *output[1:]

    def fresh_in(self, args, kwargs, call, first: bool):
        """A block's arguments with the fresh tokens of the picture alone, and the positions of these and the text."""
        img = call.take(kwargs["img"]) if first else kwargs["img"]
        return args, {**kwargs, "img": img, "pe": call.take_positions(kwargs.get("pe"), kwargs["txt"].shape[1])}

    def fresh_out(self, output, call):
        return call.placed(output[0]), output[1]

    def replacements(self, call: Call):
        return JointForward.of_all(self, call)


class JointForward(BlockForward):
    @torch.compiler.disable(recursive=False)    # as in sequential.py
    def __call__(self, img, txt, vec, **kwargs):
        sites, streams = self.stack.site, {"img": img, "txt": txt}
        kept = {name: self.call.kept(sites[f"{name}_attn"], self.index, x) for name, x in streams.items()}
        if any(tokens is None for tokens in kept.values()):
            return self.full(streams, vec, kwargs)
        return self.partial(streams, kept, vec, kwargs)

    def full(self, streams, vec, kwargs):
        """The host's block; what its sub-modules return is kept."""
        if self.scoring:
            kwargs = self.stack.stack.watch(kwargs, partial(self.score, streams))
        with swapped(self.watched(streams, kwargs)):
            return self.forward(img=streams["img"], txt=streams["txt"], vec=vec, **kwargs)

    def watched(self, streams, kwargs):
        for name in streams:
            changed = kwargs.get(f"modulation_dims_{name}") is not None         # the host then multiplies in place what it gets
            yield (module := self.block.get_submodule(f"{name}_attn.proj")), partial(self.keep_attn, name, module.forward, changed)
            yield (module := self.block.get_submodule(f"{name}_mlp")), partial(self.run_mlp, name, module.forward, changed)

    def keep_attn(self, name, forward, changed, x):
        site = self.stack.site[f"{name}_attn"]
        output = forward(x)
        self.call.keep(site, self.index, output.clone() if changed else output)
        self.call.count(site, self.index, x.shape[1], x.shape[1])
        return output

    def run_mlp(self, name, forward, changed, x):
        output = self.call.run(self.stack.site[f"{name}_mlp"], self.index, x, lambda rows, take: forward(rows))
        return output.clone() if changed else output

    def score(self, streams, q, k):
        """s1 per stream, from the joint attention."""
        txt, img = self.call.received(self.stack, q, k).split([streams["txt"].shape[1], streams["img"].shape[1]], dim=-1)
        self.call.score(self.stack.site["img_mlp"], self.index, streams["img"], img)
        self.call.score(self.stack.site["txt_mlp"], self.index, streams["txt"], txt)

    @torch.compiler.disable     # as in `Call.of_rows`
    def partial(self, streams, kept, vec, kwargs):
        block = self.block
        modulations = (block.img_mod(vec), block.txt_mod(vec)) if block.modulation else vec
        for (name, x), (first, second) in zip(streams.items(), modulations, strict=True):
            laid = partial(per_token, dims=kwargs.get(f"modulation_dims_{name}"), tokens=x.shape[1])
            self.call.count(self.stack.site[f"{name}_attn"], self.index, x.shape[1], 0)
            x.addcmul_(laid(first.gate), kept[name])                # in place, as the host's block does
            x.addcmul_(laid(second.gate), self.fresh_mlp(name, x, laid(second.shift), laid(second.scale)))
        return streams["img"], no_overflow(streams["txt"])

    def fresh_mlp(self, name, x, shift, scale):
        norm, mlp = (self.block.get_submodule(f"{name}_{part}") for part in ("norm2", "mlp"))

        def compute(rows, take):
            own = (shift, scale) if shift.shape[1] == 1 else (take(shift), take(scale))
            return mlp(torch.addcmul(own[0], norm(rows), 1 + own[1]))

        return self.call.run(self.stack.site[f"{name}_mlp"], self.index, x, compute)


def per_token(modulation, dims, tokens: int):
    """A modulation (B, 1, C) as it is; one of several, (B, m, C), laid out over the tokens by dims [(start, stop, which)], as slices."""
    if dims is None:
        return modulation
    counts = {start: (len(range(tokens)[start:stop]), which) for start, stop, which in dims}
    return torch.cat([modulation[:, which:which + 1].expand(-1, count, -1) for _, (count, which) in sorted(counts.items())], dim=1)


def no_overflow(x):
    """As the host's blocks end in half precision."""
    return torch.nan_to_num(x, nan=0.0, posinf=65504, neginf=-65504) if x.dtype == torch.float16 else x
