"""Blocks whose attentions and MLPs can be told apart, in whatever block they are: nearly every model of today.

Here is what they are and what they cost; what they do in a call is in `standing.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import nn

from ..calls.module import Call
from ..costs import flops
from ..costs.account import Site, Sizes
from .contract import Claims
from .standing import InlineForward, PartForward, Standing, found, place
from .tokens import BoundTokens, TokenCosts, TokenStack

SHORT = {"self_attn": "attn", "mlp": "mlp"}             # of a module with several streams, behind the stream's name: img_attn, img_mlp


@dataclass(frozen=True)
class Part:
    """One attention or MLP of a block.

    kind       "self_attn", "cross_attn" or "mlp"
    path       attribute of a block, by default of that name
    streams    whose tokens it works on -> the argument that brings them, by name or position, in the order in which it returns them; what
               is not the picture's is called "txt"
    among      these streams in the order in which their tokens lie in the attention, where it is another
    text       paths of its layers that work on the stream "txt", and in cross-attention on the context
    beside     of further ones that work on the context in place of those, where a block has them
    context    the argument of cross-attention that brings the context; or (module, arguments, named ones) -> how many tokens of it all
               samples have
    name       of its sites, where the block has two of a kind
    seen       its attention can be read for scores: by the host's options, which it takes by name, or by the entry's own forward
    optional   not every block has it
    forward    what stands in for it, where a module is called in a way of its own
    """
    kind: str
    path: str = ""
    streams: dict[str, str | int] = field(default_factory=lambda: {"": 0})
    among: tuple[str, ...] = ()
    text: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    context: str | int | Callable[..., int] = 1
    name: str = ""
    seen: bool = True
    optional: bool = False
    forward: type[Standing] = PartForward

    @property
    def place(self) -> str:
        return self.path or self.kind

    @property
    def order(self) -> tuple[str, ...]:
        return self.among or tuple(self.streams)

    def sites(self, stack: str) -> dict[str, Site]:
        """The site of every stream."""
        named = {stream: self.name or (f"{stream}_{SHORT[self.kind]}" if stream else self.kind) for stream in self.streams}
        return {stream: Site(stack, name, self.kind, stream) for stream, name in named.items()}

    def module(self, block: nn.Module, claims: Claims) -> nn.Module:
        return claims.module(self.place, block, "block's ")

    def macs(self, block: nn.Module, claims: Claims) -> dict[str, int]:
        """Multiply-adds per token of each stream, and of the context."""
        if self.optional and not found(block, self.place):
            return {}
        module = self.module(block, claims)
        text = sum(flops.macs(claims.module(path, module, f"{self.place}'s ")) for path in self.text)
        own = next((stream for stream in self.streams if stream != "txt"), "txt")
        macs = {own: flops.macs(module) - text - sum(flops.macs(layer) for path in self.beside if (layer := found(module, path)))}
        return {**macs, "context" if self.kind == "cross_attn" else "txt": text} if text else macs

    def check(self, block: nn.Module, claims: Claims):
        module = self.module(block, claims)                         # the first block is a whole one
        for argument in self.streams.values():
            claims.argument(module, argument)
        if self.seen and self.kind != "mlp" and self.forward is PartForward:
            claims.keyword(module, "transformer_options")


@dataclass(frozen=True)
class Inline:
    """A self-attention that is written out in the block's forward.

    begins, ends    stream -> path of the layer that makes its queries, keys and values, and of that through which the attention's output
                    leaves, in the order in which the streams' tokens lie in the attention; a stream ends with a block that lacks the latter
    streams         -> the block's argument that brings the tokens
    optional        not every block has it, nor every model
    """
    begins: dict[str, str]
    ends: dict[str, str]
    streams: dict[str, str | int]
    name: str = ""
    optional: bool = False
    kind, seen, forward = "self_attn", True, InlineForward

    @property
    def order(self) -> tuple[str, ...]:
        return tuple(self.ends)

    def sites(self, stack: str) -> dict[str, Site]:
        return {stream: Site(stack, self.name or f"{stream}_attn", self.kind, stream) for stream in self.streams}

    def module(self, block: nn.Module, claims: Claims) -> nn.Module:
        """Whose first layer takes the tokens."""
        return claims.module(next(iter(self.begins.values())), block, "block's ")

    def macs(self, block: nn.Module, claims: Claims) -> dict[str, int]:
        return {stream: sum(flops.macs(layer) for path in (self.begins[stream], self.ends[stream]) if (layer := found(block, path)))
                for stream in self.streams}

    def check(self, block: nn.Module, claims: Claims):
        for path in () if self.optional else (*self.begins.values(), *self.ends.values()):
            claims.module(path, block, "block's ")
        claims.keyword(block, "transformer_options")


@dataclass(frozen=True)
class PartStack(TokenStack):
    """
    parts    what the modules of a block are
    beside   paths of further layers that work on every token, whatever is cached
    watch    (keyword arguments, seen) -> them again, so that an attention called with them calls seen(q, k, mask), q and k
             (B, heads, N, d), mask (B, 1, m) added to the logits or None, before it runs
    leave_out    (keyword arguments) -> them again, so that such an attention is not computed
    attending    as in sequential.py, of the picture's own attentions, where single tokens can go through a block
    single       (arguments by name, call) -> them again for single tokens, where a block takes more than its streams for each token
                 (`calls.refresh.RefreshCall.cut`, `take_positions`)
    """
    parts: tuple[Part | Inline, ...] = ()
    beside: tuple[str, ...] = ()
    watch: Callable = field(default=lambda kwargs, seen: kwargs)
    leave_out: Callable = field(default=lambda kwargs: kwargs)
    attending: Callable | None = None           # type: ignore[assignment]
    single: Callable | None = None
    modular = True

    @property
    def scores(self) -> tuple[str, ...]:    # type: ignore[override]
        return tuple(dict.fromkeys(part.kind for part in self.parts if part.kind != "mlp" and part.seen))

    @property
    def sites(self) -> tuple[Site, ...]:
        return tuple(site for part in self.parts for site in part.sites(self.name).values())

    def bind(self, model: nn.Module) -> "BoundParts":
        return BoundParts(self, model)


@dataclass(eq=False)
class PartCosts(TokenCosts):
    """
    macs_of       multiply-adds per token of each site, the mean of the blocks that have it
    context_of    per context token in cross-attention
    present       which blocks have it
    """
    stack: PartStack
    macs_of: dict[Site, float] = field(default_factory=dict)
    context_of: dict[Site, float] = field(default_factory=dict)
    present: dict[Site, tuple[bool, ...]] = field(default_factory=dict)

    def has(self, site: Site, block: int) -> bool:
        return self.present[site][block]

    def plain_flops(self, sizes: Sizes) -> int:
        return sum(sum(self.present[site]) * self.module_flops(site, sizes.batch, tokens, tokens, sizes)
                   for site in self.sites for tokens in [self.tokens_of(site, sizes)])

    def module_flops(self, site: Site, batch: int, fresh: int, total: int, sizes: Sizes) -> int:
        linear = round(2 * batch * fresh * self.macs_of[site])
        if site.kind == "mlp" or fresh == 0:
            return linear
        if site.kind == "cross_attn":
            context = round(2 * sizes.context * self.context_of[site])
            return linear + context + flops.attention(batch, fresh, sizes.context_each, self.width)
        return linear + flops.attention(batch, fresh, total + self.others(site, sizes), self.width)

    def others(self, site: Site, sizes: Sizes) -> int:
        """How many tokens of one sample an attention has beside those of a site's own stream."""
        own = next(part.sites(self.stack.name) for part in self.stack.parts if site in part.sites(self.stack.name).values())
        return sum(self.tokens_of(one, sizes) for one in own.values() if one != site)

    def fresh_flops(self, sizes: Sizes, fresh: int) -> int:
        """Cost of all blocks for a stream of text and `fresh` tokens of each picture, which attend to all."""
        total = 0
        for site in self.sites:
            tokens = self.tokens_of(site, sizes)
            beside = tokens - sizes.stream if self.stack.side == "last" else 0  # text in one stream with the picture
            computed = tokens if site.stream == "txt" else fresh + beside
            total += sum(self.present[site]) * self.module_flops(site, sizes.batch, computed, tokens, sizes)
        return total

    def attending(self, sizes: Sizes) -> int:
        first = next(site for site in self.sites if site.kind == "self_attn")
        return self.tokens_of(first, sizes) + self.others(first, sizes)

    def tokens_of(self, site: Site, sizes: Sizes) -> int:
        return sizes.context_each if site.stream == "txt" else super().tokens_of(site, sizes)


class BoundParts(BoundTokens, PartCosts):
    def __init__(self, stack: PartStack, model: nn.Module):
        super().__init__(stack, model)
        claims = Claims(model, stack.path)
        for part in stack.parts:
            part.check(self.blocks[0], claims)
        self.macs, first = 0, next(part for part in stack.parts if part.kind == "self_attn").module(self.blocks[0], claims)
        self.width, self.heads = flops.width_of(first), getattr(first, "num_heads", None)       # a block's first layer may be a modulation
        for part in stack.parts:
            macs = [part.macs(block, claims) for block in self.blocks]
            for stream, site in part.sites(stack.name).items():
                own = [of_block.get(stream, 0) for of_block in macs]
                self.present[site] = tuple(map(bool, own))
                self.macs_of[site] = sum(own) / max(sum(self.present[site]), 1)
                self.context_of[site] = sum(of_block.get("context", 0) for of_block in macs) / self.depth
            self.macs += sum(sum(of_block.values()) for of_block in macs)
        self.beside = sum(flops.macs(layer) for path in stack.beside for block in self.blocks if (layer := found(block, path)))

    @property
    def costs(self) -> PartCosts:
        return PartCosts(self.stack, self.depth, self.width, self.block_macs, self.macs_of, self.context_of, self.present)

    def replacements(self, call: Call):
        scoring = call.scoring(self)
        for part in self.stack.parts:
            for index, block in enumerate(self.blocks):
                owner = block if isinstance(part, Inline) else found(block, part.place)
                if owner is not None:
                    yield owner, part.forward(self, call, index, owner, scoring[index], part)

    def fresh_in(self, args, kwargs, call, first: bool):
        """A block's arguments with the fresh tokens of the picture alone; what comes out of one block goes into the next as it is."""
        args, kwargs = list(args), dict(kwargs)
        if first:
            whole = self.take(self.stack.main, args, kwargs)
            call.axes = whole.shape[1:-1]
            rows = call.take(self.flat(whole))
            place(rows.unflatten(1, (-1, *[1] * (len(call.axes) - 1))), self.stack.main, args, kwargs, self.named)
        if self.stack.single is None:
            return tuple(args), kwargs
        return (), self.stack.single({**dict(zip(self.named, args, strict=False)), **kwargs}, call)

    def fresh_out(self, output, call):
        """What the last block returns: the fresh tokens among the others."""
        fresh = self.flat(self.main_of(output))
        text = fresh.shape[1] - call.fresh.shape[-1]                # before the picture, in one stream with it
        tokens = call.placed(fresh[:, text:])
        return self.with_main(output, torch.cat((fresh[:, :text], tokens), dim=1) if text else tokens.unflatten(1, call.axes))

    def scored_streams(self, part) -> list[Site]:
        """One site of every stream that an attention's s1 is for, which shares its scores with the stream's others."""
        sites = {site.stream: site for site in self.sites if site.kind != "self_attn"}
        return [sites[stream] for stream in part.order if stream in sites]
