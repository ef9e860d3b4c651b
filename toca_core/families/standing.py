"""What stands in for attentions and MLPs, wherever a block has them, for the length of one call (`parts.py`).

The host's block runs as it is, with its modulations, gates and norms before or behind. On a partial step an attention gives what is kept of
it, and an MLP computes its fresh rows. An attention that is written out in the block's own forward is kept where it leaves through a layer:
then the layers that make its queries, keys and values give zeros, and the attention over them is left out.
"""

from functools import partial

import torch
from torch import nn

from ..calls.module import BlockForward, Call
from ..select import attention
from ..swap import swapped
from .contract import Claims


def found(block: nn.Module, path: str) -> nn.Module | None:
    """The module at a path, where a block has one."""
    try:
        return block.get_submodule(path)
    except AttributeError:
        return None


class Standing(BlockForward):
    """What stands in for one part, or for the block that it is written out in, in one block for the length of one call."""

    def __init__(self, stack, call: Call, index: int, owner: nn.Module, scoring: bool, part):
        super().__init__(stack, call, index, owner, scoring and part.kind == call.config.score and part.seen)
        self.part, self.sites = part, part.sites(stack.stack.name)
        self.named, _ = Claims(owner, part.kind).arguments(owner)
        if part is not next(one for one in stack.stack.parts if one.kind == part.kind):
            self.scoring = False                                    # the first attention of its kind gives the scores

    def given(self, args, kwargs) -> dict[str, torch.Tensor]:
        """Stream -> its tokens (B, N, C)."""
        return {stream: self.stack.flat(self.argument(name, args, kwargs)) for stream, name in self.part.streams.items()}

    def argument(self, name, args, kwargs):
        if name in kwargs:
            return kwargs[name]
        at = name if isinstance(name, int) else self.named[name]
        return args[at] if at < len(args) else kwargs[next(word for word, place in self.named.items() if place == at)]

    def kept(self, tokens) -> dict[str, torch.Tensor] | None:
        """What there is of every stream's output; None where something is missing, so that all is computed."""
        kept = {stream: self.call.kept(self.sites[stream], self.index, x) for stream, x in tokens.items()}
        if any(output is None for output in kept.values()):
            return None
        for stream, x in tokens.items():
            self.call.count(self.sites[stream], self.index, x.shape[1], 0)
        return kept

    def keep(self, stream: str, x, output):
        """x, output: (B, N, C) of a stream before and after."""
        self.call.keep(self.sites[stream], self.index, output)
        self.call.count(self.sites[stream], self.index, x.shape[1], x.shape[1])

    def seen(self, tokens: dict, q, k, mask=None):
        """s1 of every stream from the attention of all of them."""
        lengths = [tokens[stream].shape[1] for stream in self.part.order]
        if k.shape[2] != sum(lengths):
            return                                                  # of something else than these tokens
        if q.shape[1] != k.shape[1]:
            k = k.repeat_interleave(q.shape[1] // k.shape[1], dim=1)
        received = dict(zip(self.part.order, self.call.received(self.stack, q, k).split(lengths, dim=-1), strict=True))
        for site in self.stack.scored_streams(self.part):
            self.call.score(site, self.index, tokens[site.stream], received[site.stream])


class PartForward(Standing):
    """The forward of a module."""

    @torch.compiler.disable(recursive=False)    # as in sequential.py
    def __call__(self, *args, **kwargs):
        if self.part.kind == "self_attn":
            return self.attention(args, kwargs)
        whole = self.argument(self.name, args, kwargs)
        x, site = self.stack.flat(whole), next(iter(self.sites.values()))
        if site.kind == "cross_attn":
            context = self.part.context
            self.call.contexts[site] = (context(self.block, args, kwargs) if callable(context)
                                        else self.argument(context, args, kwargs).shape[:-1].numel())

        def compute(rows, take):
            return self.stack.flat(self.run(args, kwargs)[0]) if rows is x else self.run_rows(rows, x, take, args, kwargs)

        if self.scoring or site.kind == self.call.config.score and self.part.seen:
            output = self.call.run(site, self.index, x, lambda rows, take: self.scored_rows(site, x, rows, take, args, kwargs))
        else:
            output = self.call.run(site, self.index, x, compute)
        return self.returned((output.unflatten(1, whole.shape[1:-1]),))

    @property
    def name(self):
        return next(iter(self.part.streams.values()))

    def run(self, args, kwargs, seen=None) -> tuple:
        """-> what the module makes of each stream; seen: as in `PartStack.watch`."""
        output = self.forward(*args, **(kwargs if seen is None else self.stack.stack.watch(kwargs, seen)))
        return output if len(self.part.streams) > 1 else (output,)

    def run_rows(self, rows, x, take, args, kwargs, seen=None):
        """The same of rows (B, n, C) of x. Whatever else an MLP is given for each token is cut to the same rows."""
        mlp = self.part.kind == "mlp"
        changed = [take(one) if mlp and per_token(one, x) else one for one in args]
        more = {key: take(one) if mlp and per_token(one, x) else one for key, one in kwargs.items()}
        place(rows, self.name, changed, more, self.named)
        return self.stack.flat(self.run(changed, more, seen)[0])

    @staticmethod
    def returned(outputs: tuple):
        """What the module returns, of what there is of each stream."""
        return outputs if len(outputs) > 1 else outputs[0]

    def scored_rows(self, site, x, rows, take, args, kwargs):
        """Cross-attention of rows (B, n, C) of x, with s2's basis: of all tokens, or renewed for the fresh ones (as in sequential.py)."""
        every, found = rows is x, []
        if every and not self.scoring:
            return self.stack.flat(self.run(args, kwargs)[0])

        def seen(q, k, mask=None):
            found.append((q, k, mask))

        output = self.stack.flat(self.run(args, kwargs, seen)[0]) if every else self.run_rows(rows, x, take, args, kwargs, seen)
        q, k, mask = found[-1]                                      # of several attentions the text's comes last
        self.call.count_scores(self.stack, rows.shape[1])
        entropy = attention.entropy(q, k, self.call.conds, mask)
        if every:
            self.call.score(site, self.index, x, entropy)
        else:
            self.call.selector(site).basis[self.index].scatter_(-1, self.call.selected[site, self.index], entropy)
        return output

    def attention(self, args, kwargs):
        tokens = self.given(args, kwargs)
        kept = self.kept(tokens)
        if kept is None:
            outputs = self.run(args, kwargs, partial(self.seen, tokens) if self.scoring else None)
            for (stream, x), output in zip(tokens.items(), outputs, strict=False):
                self.keep(stream, x, self.stack.flat(output))
            return self.returned(outputs)
        return self.returned(tuple(output.unflatten(1, self.argument(name, args, kwargs).shape[1:-1])
                                   for output, name in zip(kept.values(), self.part.streams.values(), strict=True)))


class InlineForward(Standing):
    """The forward of a block that an attention is written out in."""

    @torch.compiler.disable(recursive=False)    # as in sequential.py
    def __call__(self, *args, **kwargs):
        tokens, stack = self.given(args, kwargs), self.stack.stack
        ends = {stream: module for stream, path in self.part.ends.items() if (module := found(self.block, path))}
        if not ends:
            return self.forward(*args, **kwargs)
        kept = self.kept({stream: x for stream, x in tokens.items() if stream in ends})
        if kept is None:
            if self.scoring:
                kwargs = stack.watch(kwargs, partial(self.seen, tokens))
            watched = [(module, partial(self.run_end, stream, tokens[stream], module.forward)) for stream, module in ends.items()]
            self.count_ended(tokens, ends, 1)
            with swapped(watched):
                return self.forward(*args, **kwargs)
        self.count_ended(tokens, ends, 0)
        begins = [(module, partial(nothing, module)) for path in self.part.begins.values() if (module := found(self.block, path))]
        with swapped([*begins, *((module, partial(given, kept[stream])) for stream, module in ends.items())]):
            return self.forward(*args, **stack.leave_out(kwargs))

    def count_ended(self, tokens, ends, share: int):
        """A stream that ends with this block has its queries, keys and values yet."""
        for stream in (stream for stream in tokens if stream not in ends and self.stack.has(self.sites[stream], self.index)):
            self.call.count(self.sites[stream], self.index, tokens[stream].shape[1], share * tokens[stream].shape[1])

    def run_end(self, stream, x, forward, attended):
        output = forward(attended)
        self.keep(stream, x, output)
        return output


def given(kept, attended):
    """In place of the layer through which an attention leaves."""
    return kept


def nothing(layer, x):
    """In place of the layer that makes queries, keys and values, of which none are wanted."""
    return x.new_zeros(*x.shape[:-1], layer.out_features)


def per_token(value, x) -> bool:
    """Whether an argument has a row for every token of x (B, N, C), as a modulation may."""
    return torch.is_tensor(value) and value.ndim == 3 and value.shape[:2] == x.shape[:2]


def place(rows, name, args: list, kwargs: dict, named: dict):
    """Puts rows in the place of the tokens among a module's arguments."""
    at = name if isinstance(name, int) else named[name]
    if name in kwargs:
        kwargs[name] = rows
    elif at < len(args):
        args[at] = rows
    else:
        kwargs[next(word for word, place in named.items() if place == at)] = rows
