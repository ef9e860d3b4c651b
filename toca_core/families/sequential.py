"""Blocks that run self-attention -> [cross-attention] -> MLP, each a sub-module: DiT, PixArt, Open-Sora, ...

Only the modules' own forwards are called; the host's block code stays as it is.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import nn

from ..calls.module import Call, Chosen
from ..costs import flops
from ..costs.account import Site, Sizes, StackCosts
from ..select import attention
from ..swap import overheard
from .contract import Claims


@dataclass(frozen=True)
class SequentialStack:
    """
    modules        kind -> attribute of a block
    projections    kind -> attributes of the linear layers that make its queries, keys and values: one fused "qkv" layer, a query
                   layer and a fused "kv" layer, or three layers; without them that attention gives no scores
    mask           position, after the tokens, of the argument of cross-attention that masks the context, (B, 1, L), added to the logits
    attends        Sizes -> (sequences per sample, their length) of self-attention; by default one sequence of all tokens
    norms          kind -> attribute of the norm that stands, with one modulation for all tokens, between the tokens and that module
    attending      how to stand in for the attention inside a block (`refresh.py`), where the host lets one
    """
    modules: dict[str, str]
    projections: dict[str, tuple[str, ...]]
    name: str = ""
    path: str = "blocks"
    mask: int | None = None
    attends: Callable[[Sizes], tuple[int, int]] = lambda sizes: (1, sizes.tokens)
    norms: dict[str, str] = field(default_factory=dict)
    attending: Callable | None = None
    modular, grid, side = True, "first", "all"

    @property
    def sites(self) -> tuple[Site, ...]:
        return tuple(Site(self.name, kind, kind) for kind in self.modules)

    @property
    def scores(self) -> tuple[str, ...]:
        return tuple(self.projections)

    def bind(self, model: nn.Module) -> "BoundSequential":
        return BoundSequential(self, model)


@dataclass(eq=False)
class SequentialCosts(StackCosts):
    """Multiply-adds: macs_of those per token of each kind of module, context_macs those per context token in cross-attention."""
    stack: SequentialStack
    depth: int
    width: int
    macs_of: dict[str, int]
    context_macs: int

    def module_flops(self, site: Site, batch: int, fresh: int, total: int, sizes: Sizes) -> int:
        """Cost of one module for `fresh` of `total` tokens in each of `batch` samples."""
        macs = self.macs_of[site.kind]
        if site.kind == "mlp" or fresh == 0:
            return 2 * batch * fresh * macs
        if site.kind == "self_attn":                                # as a whole, or not at all
            sequences, length = self.stack.attends(sizes)
            return 2 * batch * fresh * macs + flops.attention(batch * sequences, length, length, self.width)
        linear = 2 * batch * fresh * (macs - self.context_macs) + 2 * sizes.context * self.context_macs
        return linear + flops.attention(batch, fresh, sizes.context_each, self.width)

    def tokens_of(self, site: Site, sizes: Sizes) -> int:
        return sizes.tokens

    def fresh_flops(self, sizes: Sizes, fresh: int) -> int:
        """Cost of all blocks for `fresh` tokens of each sample that attend to all."""
        return self.depth * (2 * sizes.batch * fresh * sum(self.macs_of.values())
                             + flops.attention(sizes.batch, fresh, sizes.tokens, self.width))


class BoundSequential(SequentialCosts):
    def __init__(self, stack: SequentialStack, model: nn.Module):
        claims = Claims(model, stack.name)
        self.blocks = blocks = claims.blocks(stack.path)
        self.modules = {(site, index): claims.module(stack.modules[site.kind], block, "block's ")
                        for site in stack.sites for index, block in enumerate(blocks)}
        self.norms = {(site, index): claims.module(stack.norms[site.kind], block, "block's ")
                      for site in stack.sites if site.kind in stack.norms for index, block in enumerate(blocks)}
        first = {site.kind: self.modules[site, 0] for site in stack.sites}
        for kind, paths in stack.projections.items():
            claims.projections(first[kind], paths, stack.modules[kind])
        keys = stack.projections.get("cross_attn", ())[1:]          # the layers that read the context
        context = sum(flops.macs(first["cross_attn"].get_submodule(path)) for path in keys)
        super().__init__(stack, len(blocks), flops.width_of(first["mlp"]), {kind: flops.macs(module) for kind, module in first.items()},
                         context)
        self.heads = getattr(first["self_attn"], "num_heads", None)
        self.macs = self.depth * sum(self.macs_of.values())

    @property
    def costs(self) -> SequentialCosts:
        return SequentialCosts(self.stack, self.depth, self.width, self.macs_of, self.context_macs)

    def replacements(self, call: Call):
        scoring = call.scoring(self)
        for (site, block), module in self.modules.items():
            forward = ModuleForward(self, call, site, block, module, scoring[block])
            yield module, forward
            if (site, block) in self.norms:
                yield (norm := self.norms[site, block]), NormForward(norm.forward, forward)

    def picture_in(self, args, kwargs):
        return args[0]

    def picture_out(self, output, count: int):
        return output

    def passed(self, args, kwargs, picture=None):
        """What a block returns that is passed by: the tokens as they came, or in place of the picture's others."""
        return args[0] if picture is None else picture

    def changed(self, output, picture):
        return picture

    def fresh_in(self, args, kwargs, call, first: bool):
        """A block's arguments with the fresh tokens alone; what comes out of one block goes into the next as it is."""
        return ((call.take(args[0]), *args[1:]) if first else args), kwargs

    def fresh_out(self, output, call):
        """What the last block returns: the fresh tokens among the others."""
        return call.placed(output)

    def scored(self, site: Site, module, compute):
        """Run a module and read its queries and keys on the way: -> (output, q, k), both (B, heads, N, d)."""
        paths = self.stack.projections[site.kind]
        with overheard(module, paths) as seen:
            output = compute()
        q = seen[paths[0]] if len(paths) > 1 else seen[paths[0]].chunk(3, dim=-1)[0]
        k = seen[paths[0]].chunk(3, dim=-1)[1] if len(paths) == 1 else seen[paths[1]]
        k = k.chunk(2, dim=-1)[0] if len(paths) == 2 else k         # a fused key-value layer
        batch = output.shape[0]
        return output, *(attention.split_heads(x.reshape(batch, -1, output.shape[-1]), module.num_heads) for x in (q, k))


class ModuleForward:
    """The forward of one module for the length of one call."""

    def __init__(self, stack: BoundSequential, call: Call, site: Site, block: int, module: nn.Module, scoring: bool):
        self.stack, self.call, self.site, self.block, self.module = stack, call, site, block, module
        self.forward, self.scoring = module.forward, scoring and site.kind == call.config.score
        self.ahead = None                                           # what the norm before this module has picked for it

    @torch.compiler.disable(recursive=False)    # which tokens are fresh must not be frozen into a compiled graph; what runs inside may be
    def __call__(self, x, *args, **kwargs):
        def compute(rows, take=None):
            return self.forward(rows, *args, **kwargs)

        def compute_mlp(rows, take):
            """Beside its tokens an MLP may take a modulation: one row for all of them, or one per token."""
            return self.forward(rows, *(take(value) if value.shape[1] == x.shape[1] else value for value in args), **kwargs)

        if self.ahead is not None:
            return self.after_norm(x, compute)
        if self.site.kind == "self_attn":
            return self.call.reuse(self.site, self.block, x, lambda: self.scored(x, compute))
        if self.site.kind == "mlp":
            return self.call.run(self.site, self.block, x, compute_mlp)
        if self.site.kind == self.call.config.score:
            mask = None if self.stack.stack.mask is None else args[self.stack.stack.mask]
            return self.call.run(self.site, self.block, x, lambda rows, take: self.scored_rows(x, rows, compute, mask))
        return self.call.run(self.site, self.block, x, compute)

    def before_norm(self, x):
        """Of x (B, N, C) the rows that the norm, the modulation and this module have to see; at least one, for their sake."""
        if self.site.kind == "self_attn":
            kept = self.call.kept(self.site, self.block, x)
            if kept is None:
                return x
            self.call.count(self.site, self.block, x.shape[1], 0)
            self.ahead = Chosen(0, kept)
        else:
            self.ahead = self.call.pick(self.site, self.block, x)
        return self.ahead.take(x) if self.ahead.count else x[:, :1]

    def after_norm(self, rows, compute):
        chosen, self.ahead = self.ahead, None
        return self.call.finish(self.site, self.block, chosen, compute(rows) if chosen.count else None)

    def scored(self, x, compute):
        """Self-attention, with s1's basis where a partial step ahead needs it."""
        if not self.scoring:
            return compute(x)
        output, q, k = self.stack.scored(self.site, self.module, lambda: compute(x))
        self.call.score(self.site, self.block, x, self.call.received(self.stack, q, k))
        return output

    def scored_rows(self, x, rows, compute, mask):
        """Cross-attention of rows (B, n, C) of x, with s2's basis: of all tokens, or renewed for the fresh ones.

        The group's conditionings are averaged, so that all get the same selection.
        """
        every = rows is x
        if every and not self.scoring:
            return compute(rows)
        output, q, k = self.stack.scored(self.site, self.module, lambda: compute(rows))
        self.call.count_scores(self.stack, rows.shape[1])
        entropy = attention.entropy(q, k, self.call.conds, mask)    # (B / conds, n)
        if every:
            self.call.score(self.site, self.block, x, entropy)
        else:
            self.call.selector(self.site).basis[self.block].scatter_(-1, self.call.selected[self.site, self.block], entropy)
        return output


class NormForward:
    """The norm before a module: normalises only the rows that the module will compute."""

    def __init__(self, forward, module: ModuleForward):
        self.forward, self.module = forward, module

    @torch.compiler.disable(recursive=False)    # as above
    def __call__(self, x):
        return self.forward(self.module.before_norm(x))
