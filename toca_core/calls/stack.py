"""Level stack: one residual per token stands for all blocks together, whatever their family.

On a full step the host's blocks run as they are, and what they add to the picture's tokens, from before the first block to after
the last, is kept. On a skipped step no block runs: the tokens get the residual expected at that time, and the final layer, whose
modulation depends on the timestep, runs as always. What the host adds between blocks (ControlNet) is part of the residual, so it
is neither lost nor added twice.

The model runs once either way. What skipping a full step would have given is compared with the truth in the tokens that leave the
last block, as the final layer sees them, normalised; and there what the comparison says of earlier forecasts is taken back.
"""

from typing import Any

import torch
import torch.nn.functional as F

from ..keep.cache import StackCache
from .context import CallContext


class StackCall:
    """One call of the model. `replacements` are the forwards to swap in for its length.

    skip        whether the blocks are skipped; settled at the first block, since only there it shows whether what is kept fits
    compares    whether a full step's forecast is compared with the truth
    repayment   how much of its error is taken back from the tokens
    inside      (B, N) how much each token's error counts, None where all count alike
    owed        (B, N) 0 where a token was computed between full steps, so that nothing of it is in debt; None where none was
    entered     whether the first and the last block were reached: another node may have answered in their place
    error       (B,) of the forecast that would have spared this step: root mean square difference of the normalised tokens
    """

    def __init__(self, about: CallContext, cache: StackCache, skip: bool, compares: bool = False, repayment: float = 0.0,
                 inside=None, owed=None):
        self.about, self.bound, self.cache, self.time, self.skip = about, about.bound, cache, about.time, skip
        self.compares, self.repayment, self.inside, self.owed = compares and not skip, repayment, inside, owed
        self.first, self.last = (self.bound.stacks[0], 0), (self.bound.stacks[-1], self.bound.stacks[-1].depth - 1)
        self.tokens: Any = None                                     # before the first block; on a skipped step those after the last;
                                                                    # after a full one what the blocks added to them
        self.reached, self.left = False, False
        self.misfit = ""                                            # what the last block returned that the entry does not say
        self.error: torch.Tensor | None = None
        self.token_error: torch.Tensor | None = None                # (B, N), its square token by token

    @property
    def plain_flops(self) -> int:
        return self.bound.plain_flops(self.about.sizes)

    @property
    def flops(self) -> int:
        return self.bound.skipped_flops(self.about.sizes) if self.skip else self.plain_flops

    @property
    def fresh_per_block(self) -> dict[str, list[float]]:
        """No module is computed in part."""
        return {}

    @property
    def entered(self) -> bool:
        return self.reached and self.left

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
        if self.skip:
            for side, block in self.bound.sides:
                yield block, SidePass(self, side, block)

    def enter(self, tokens):
        """The picture's tokens (B, N, C) before the first block."""
        self.reached = True
        if self.skip and not self.cache.anchors.fits(tokens):
            self.skip = False
        self.tokens = self.cache.anchors.onto(tokens, self.time) if self.skip else tokens.clone()   # which the host may change in place

    def leave(self, tokens):
        """The picture's tokens after the last block of a full step -> those that go on, or None where they go on as they are."""
        repaid = self.compare(tokens) if self.compares and self.cache.anchors.fits(tokens) else None
        if self.tokens.dtype == tokens.dtype:                       # the residual takes the place of the tokens before, which are ours
            self.tokens = self.tokens.neg_().add_(tokens)
        else:
            self.tokens = tokens - self.tokens
        self.cache.anchors.add(self.time, self.tokens)
        return repaid

    def compare(self, tokens):
        """Measure the forecast of the residual against the truth -> the tokens, with its share of the error taken back, or None."""
        self.token_error, owed = torch.empty(tokens.shape[:2], device=tokens.device), fitting(self.owed, tokens)        # (B, N)
        repaid = None
        for where, expected in self.cache.anchors.expected(self.time):
            before, after = self.tokens[where], tokens[where]
            self.token_error[where] = normalised(before + expected).sub_(normalised(after)).square_().mean(-1)
            if self.repayment:
                error = expected.sub_(after - before)
                if owed is not None:
                    error.mul_(owed[where][..., None])
                part = torch.add(after, error, alpha=-self.repayment)
                repaid = part.new_empty(tokens.shape) if repaid is None else repaid
                repaid[where] = part
        self.error = weighted_mean(self.token_error, fitting(self.inside, tokens)).sqrt()
        return repaid


def normalised(tokens):
    """Tokens (..., C) as a final layer sees them, in float32."""
    return F.layer_norm(tokens.float(), tokens.shape[-1:])


def fitting(weights, tokens):
    """Weights (B, N), if N is the number of tokens: a model may put others beside the picture's, or leave some out."""
    return weights if weights is not None and weights.shape[1] == tokens.shape[1] else None


def weighted_mean(values, weights):
    """Of (B, N) over the tokens; a picture none of whose tokens counts has an error of 0."""
    if weights is None:
        return values.mean(-1)
    return (values * weights).sum(-1) / weights.sum(-1).clamp_min(1e-12)


class BlockPass:
    """The forward of one block for the length of one call: it runs as it is, or is passed by.

    Where blocks are compiled, nothing of ours is: whether a step is skipped must not be frozen into a graph, and forecasts from one anchor,
    from two and with a trust in them would each be one more.
    """

    def __init__(self, call: StackCall, stack, block, first: bool, last: bool):
        self.call, self.stack, self.forward, self.first, self.last = call, stack, block.forward, first, last

    @torch.compiler.disable(recursive=False)
    def __call__(self, *args, **kwargs):
        if self.first:
            self.enter(args, kwargs)
        if self.call.skip:
            return self.passed(args, kwargs)
        output = self.forward(*args, **kwargs)
        return output if not self.last else self.left(args, kwargs, output)

    @torch.compiler.disable
    def enter(self, args, kwargs):
        self.call.enter(self.stack.picture_in(args, kwargs))

    @torch.compiler.disable
    def passed(self, args, kwargs):
        """What the block would have returned."""
        self.call.left = self.call.left or self.last
        return self.stack.passed(args, kwargs, self.call.tokens if self.last else None)

    @torch.compiler.disable
    def left(self, args, kwargs, output):
        """What the last block returned, with what is owed taken back."""
        self.call.left, self.call.misfit = True, self.stack.misfit(args, kwargs, output)
        if self.call.tokens is None or self.call.misfit:            # another node stood in for the first block, or the entry is wrong
            return output
        repaid = self.call.leave(self.stack.picture_out(output, self.call.tokens.shape[1]))
        return output if repaid is None else self.stack.changed(output, repaid)


class SidePass:
    """The forward of a block beside the stacks: passed by where they are."""

    def __init__(self, call: StackCall, side, block):
        self.call, self.side, self.forward = call, side, block.forward

    @torch.compiler.disable(recursive=False)
    def __call__(self, *args, **kwargs):
        return self.side.passed(args, kwargs) if self.call.skip else self.forward(*args, **kwargs)
