"""The stack level: one residual per token stands for all blocks together, whatever their family.

On a full step the host's blocks run as they are, and what they add to the picture's tokens, from before the first block to after
the last, is kept. On a skipped step no block runs: the tokens get the residual expected at that time, and the final layer, whose
modulation depends on the timestep, runs as always. What the host adds between blocks (ControlNet) is part of the residual, so it
is neither lost nor added twice.
"""

import torch

from ..cache import StackCache
from .base import BoundModel, Sizes


class StackCall:
    """One call of the model. `replacements` are the forwards to swap in for its length.

    skip    whether the blocks are skipped; settled at the first block, since only there it shows whether what is kept fits
    """

    def __init__(self, bound: BoundModel, cache: StackCache, time: float, sizes: Sizes, skip: bool):
        self.bound, self.cache, self.time, self.skip = bound, cache, time, skip
        self.first, self.last = (bound.stacks[0], 0), (bound.stacks[-1], bound.stacks[-1].depth - 1)
        self.plain_flops = bound.plain_flops(sizes)
        self.flops = bound.skipped_flops(sizes) if skip else self.plain_flops
        self.tokens = None                                          # before the first block; on a skipped step those after the last

    fresh_per_block = {}            # no module is computed in part

    @property
    def kind(self) -> str:
        return "partial" if self.skip else "full"

    @property
    def recomputed(self):
        """Of the picture's tokens: one number, or (B, N), 0 where a token was forecast, 1 where it was computed."""
        return 0.0 if self.skip else 1.0

    def replacements(self):
        for stack in self.bound.stacks:
            for index, block in enumerate(stack.blocks):
                at = stack, index
                if at in (self.first, self.last) or self.skip:
                    yield block, BlockPass(self, stack, block, at == self.first, at == self.last)

    def enter(self, tokens):
        """The picture's tokens (B, N, C) before the first block."""
        if self.skip and not self.cache.anchors.fits(tokens):
            self.skip, self.flops = False, self.plain_flops
        self.tokens = self.cache.anchors.onto(tokens, self.time) if self.skip else tokens.clone()   # which the host may change in place

    def leave(self, tokens):
        """The picture's tokens after the last block, of a full step."""
        self.cache.anchors.add(self.time, tokens - self.tokens)


class BlockPass:
    """The forward of one block for the length of one call: it runs as it is, or is passed by."""

    def __init__(self, call: StackCall, stack, block, first: bool, last: bool):
        self.call, self.stack, self.forward, self.first, self.last = call, stack, block.forward, first, last

    @torch.compiler.disable(recursive=False)    # whether a step is skipped must not be frozen into a compiled graph
    def __call__(self, *args, **kwargs):
        call = self.call
        if self.first:
            call.enter(self.stack.picture_in(args, kwargs))
        if not call.skip:
            output = self.forward(*args, **kwargs)
            if self.last:
                call.leave(self.stack.picture_out(output, call.tokens.shape[1]))
            return output
        return self.stack.passed(args, kwargs, call.tokens if self.last else None)
