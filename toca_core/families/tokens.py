"""Blocks of which only the hidden stream is known: what they take and return. Enough for level stack."""

from dataclasses import dataclass

import torch
from torch import nn

from ..costs import flops
from ..costs.account import Site, Sizes, StackCosts
from .contract import Claims


@dataclass(frozen=True)
class TokenStack:
    """
    streams     what a block takes and returns, in the order in which it returns them: names or positions of its arguments; one alone,
                not in a tuple, where it returns no tuple
    picture     the stream that holds the picture's tokens; the only one where there is but one
    side        where in it they lie: "all", "first" or "last"
    batch_axis  of the tokens, where it is not the first
    grid        where in those tokens the picture's own grid lies: "first", "last", or "alone", where nothing else may be among them;
                "" where the sizes of a call say it, or nothing does
    left_out    attribute of the model that lists the indices of blocks that it never runs
    """
    path: str
    streams: tuple | str | int = "x"
    picture: str | int | None = None
    side: str = "all"
    batch_axis: int = 0
    grid: str = "alone"
    left_out: str = ""
    name: str = ""
    scores, attending, modular = (), None, False

    @property
    def sites(self) -> tuple[Site, ...]:
        return (Site(self.name or self.path, "block", "self_attn"),)

    @property
    def returned(self) -> tuple:
        """The streams, however many there are."""
        return self.streams if isinstance(self.streams, tuple) else (self.streams,)

    @property
    def main(self) -> str | int:
        return self.returned[0] if self.picture is None else self.picture

    def bind(self, model: nn.Module) -> "BoundTokens":
        return BoundTokens(self, model)


@dataclass(eq=False)
class TokenCosts(StackCosts):
    """block_macs: multiply-adds of one block per token, its two streams' halves together."""
    stack: TokenStack
    depth: int
    width: int
    block_macs: int

    def module_flops(self, site: Site, batch: int, fresh: int, total: int, sizes: Sizes) -> int:
        return 2 * batch * fresh * self.block_macs + flops.attention(batch, fresh, total, self.width)

    def tokens_of(self, site: Site, sizes: Sizes) -> int:
        return sizes.stream if self.stack.side == "all" else sizes.tokens + sizes.context_each


class BoundTokens(TokenCosts):
    """`picture_in` and its like speak of (B, N, C), whatever axes the blocks' tokens have."""

    def __init__(self, stack: TokenStack, model: nn.Module):
        claims = Claims(model, stack.path)
        self.blocks = claims.blocks(stack.path, stack.left_out)
        first = self.blocks[0]
        for name in stack.returned:
            claims.argument(first, name)
        if stack.main not in stack.returned:
            claims.refuse(f"the picture is {stack.main}, which is none of the streams {', '.join(map(str, stack.returned))}")
        if stack.side not in ("all", "first", "last"):
            claims.refuse(f"the side is {stack.side!r}; it is all, first or last")
        self.named, _ = claims.arguments(first)
        super().__init__(stack, len(self.blocks), flops.width_of(first), flops.macs(first))
        self.macs = sum(map(flops.macs, self.blocks))

    @property
    def costs(self) -> TokenCosts:
        return TokenCosts(self.stack, self.depth, self.width, self.block_macs)

    def take(self, name, args, kwargs):
        if name in kwargs:
            return kwargs[name]
        return args[name if isinstance(name, int) else self.named[name]]

    def picture_in(self, args, kwargs):
        """All tokens of the stream; where the picture is a part of it, only a block after another stack's is asked, and knows how many."""
        return self.flat(self.take(self.stack.main, args, kwargs))

    def picture_out(self, output, count: int):
        whole = self.flat(self.main_of(output))
        return {"all": lambda: whole, "last": lambda: whole[:, -count:], "first": lambda: whole[:, :count]}[self.stack.side]()

    def passed(self, args, kwargs, picture=None):
        given = tuple(self.take(name, args, kwargs) for name in self.stack.returned)
        given = given if isinstance(self.stack.streams, tuple) else given[0]
        return given if picture is None else self.changed(given, picture)

    def changed(self, output, picture):
        whole = self.main_of(output)
        return self.with_main(output, self.like(whole, self.placed(self.flat(whole), picture)))

    def with_main(self, output, tokens):
        """What a block returned, with other tokens in the picture's stream."""
        if not isinstance(self.stack.streams, tuple):
            return tokens
        at = self.stack.returned.index(self.stack.main)
        return *output[:at], tokens, *output[at + 1:]

    def placed(self, whole, picture):
        count = picture.shape[1]
        return {"all": lambda: picture,
                "last": lambda: torch.cat((whole[:, :-count], picture), dim=1),
                "first": lambda: torch.cat((picture, whole[:, count:]), dim=1)}[self.stack.side]()

    def misfit(self, args, kwargs, output) -> str:
        """What a block returned that its streams do not say, in words.

        Streams keep their shapes from block to block; the last block may end one, and returns None for it.
        """
        returned = output if isinstance(self.stack.streams, tuple) else (output,)
        if not isinstance(returned, (tuple, list)) or len(returned) < len(self.stack.returned) or not torch.is_tensor(self.main_of(output)):
            return f"a block returns no {', '.join(map(str, self.stack.returned))}"
        for name, given in zip(self.stack.returned, returned, strict=False):
            taken = self.take(name, args, kwargs)
            if torch.is_tensor(taken) and torch.is_tensor(given) and taken.shape != given.shape:
                return f"a block takes {name} of {tuple(taken.shape)} and returns {tuple(given.shape)} in its place"
        return ""

    def main_of(self, output):
        return output[self.stack.returned.index(self.stack.main)] if isinstance(self.stack.streams, tuple) else output

    def flat(self, tokens):
        """A block's tokens -> (B, N, C)."""
        return tokens.movedim(self.stack.batch_axis, 0).flatten(1, -2)

    def like(self, whole, tokens):
        """(B, N, C) -> the axes of a block's tokens."""
        axes = whole.movedim(self.stack.batch_axis, 0).shape
        return tokens.unflatten(1, axes[1:-1]).movedim(0, self.stack.batch_axis)

