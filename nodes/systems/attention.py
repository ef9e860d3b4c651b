"""Standing in for the host's attention inside a block, through the options that the block is called with."""

from functools import partial

import torch

from ...toca_core.families.parts import PartStack


def replaced_attention(options: dict, replacement) -> dict:
    """The host's options, changed so that replacement(run, q, k, v) stands for its attention, which is run(q, k, v)."""
    earlier = options.get("optimized_attention_override")

    def attention(function, q, k, v, *args, **kwargs):
        def run(q, k, v):
            return earlier(function, q, k, v, *args, **kwargs) if earlier else function(q, k, v, *args, **kwargs)

        return replacement(run, q, k, v)

    return {**options, "optimized_attention_override": attention}


def attending_last(args, kwargs, replacement):
    """The arguments of a block that takes the host's options as the last of them."""
    return (*args[:-1], replaced_attention(args[-1], replacement)), kwargs


def attending_named(args, kwargs, replacement):
    """The arguments of a block that takes the host's options by name."""
    return args, {**kwargs, "transformer_options": replaced_attention(kwargs.get("transformer_options", {}), replacement)}


def attending_first(args, kwargs, replacement):
    """As `attending_named`, of the first attention in a block: what follows it reads the text."""
    met = []

    def first(run, q, k, v):
        if met:
            return run(q, k, v)
        met.append(True)
        return replacement(run, q, k, v)

    return attending_named(args, kwargs, first)


def rows_of(*names):
    """How a block's further arguments are cut to single tokens (`families.parts.PartStack.single`), where these have a row for each token,
    or for frames of them: (B or 1, rows, ...)."""
    def single(arguments: dict, call) -> dict:
        return {**arguments, **{name: call.cut(arguments[name]) for name in names if arguments.get(name) is not None}}
    return single


def watch_attention(arguments: dict, seen) -> dict:
    """A block's arguments, changed so that the host's attention calls seen(q, k), (B, heads, N, d), before it runs."""
    def watched(run, q, k, v):
        seen(q, k)
        return run(q, k, v)

    return attending_named((), arguments, watched)[1]


def layouts(q, k, v, heads, mask=None, attn_precision=None, skip_reshape=False, skip_output_reshape=False, **kwargs):
    """How the host's attention is called -> (its inputs have a heads axis before the tokens, so has its output, the mask)."""
    return skip_reshape, skip_output_reshape, mask


def watch_heads(arguments: dict, seen) -> dict:
    """As `watch_attention`, however the host's attention is called; seen(q, k, mask), mask (B, 1, m) added to the logits or None."""
    earlier = arguments["transformer_options"].get("optimized_attention_override")

    def attention(function, q, k, v, heads, *args, **kwargs):
        before, _, mask = layouts(q, k, v, heads, *args, **kwargs)
        seen(*(x if before else heads_first(x, heads, q) for x in (q, k)), key_mask(mask))
        return earlier(function, q, k, v, heads, *args, **kwargs) if earlier else function(q, k, v, heads, *args, **kwargs)

    return with_attention(arguments, attention)


def key_mask(mask):
    """A mask of the host's attention -> (B or 1, 1, m) added to the logits; None without one, or where each query has its own."""
    if mask is None:
        return None
    rows = mask[None] if mask.ndim == 2 else mask[:, 0] if mask.ndim == 4 else mask
    if rows.shape[1] != 1:
        return None
    return torch.zeros(rows.shape, device=rows.device).masked_fill(~rows, -torch.inf) if rows.dtype == torch.bool else rows


def heads_first(x, heads: int, q):
    """(B, N, heads * d), or fewer heads, -> (B, heads, N, d)."""
    return x.unflatten(-1, (-1, q.shape[-1] // heads)).transpose(1, 2)


def leave_out(arguments: dict) -> dict:
    """A block's arguments, changed so that none of its attentions are computed: what comes out of them has only the right shape."""
    def attention(function, q, k, v, heads, *args, **kwargs):
        before, after, _ = layouts(q, k, v, heads, *args, **kwargs)
        first = q if before else heads_first(q, heads, q)
        return first if after else first.transpose(1, 2).flatten(2)

    return with_attention(arguments, attention)


def with_attention(arguments: dict, attention) -> dict:
    return {**arguments, "transformer_options": {**arguments["transformer_options"], "optimized_attention_override": attention}}


parts = partial(PartStack, watch=watch_heads, leave_out=leave_out)        # a stack whose blocks have the host's attention
