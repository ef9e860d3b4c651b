"""Level module (ToCa): each module's output is kept, and on a partial step only its fresh tokens are computed.

On a full step a module computes every token. On a partial step attention is reused as a whole, every other module computes
its fresh tokens on the current residual stream and scatters them into what is kept (paper, section 3.2).
"""

import math
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from ..costs.account import Account, Site, StackCosts, scored_samples
from ..keep.cache import ModuleCache
from ..select import attention
from ..select.selection import Selector
from .context import CallContext


def module_cache(about: CallContext, seed: int, priority=None) -> ModuleCache:
    """A cache for calls like this one. Sites of one stack and stream share their scores; only the picture's own tokens lie on the grid.

    priority    (b, grid tokens), what multiplies the scores of the picture's tokens, or None
    """
    streams: dict[tuple[str, str], tuple[StackCosts, list[str]]] = {}
    for site, stack in about.bound.stack_of.items():
        if site.kind != "self_attn":                                # which never selects, so needs no ages
            streams.setdefault((site.stack, site.stream), (stack, []))[1].append(site.module)
    return ModuleCache(about.config, {
        (name, stream): Selector(about.config, stack.depth, tuple(modules), about.sizes.grid, seed + index, priority,
                                 partial(stack.grid_start, stream, sizes=about.sizes))
        for index, ((name, stream), (stack, modules)) in enumerate(streams.items())})


class Call(Account):
    """One call of the model for one group of conditionings. `replacements` are the forwards to swap in for its length.

    Where the model is compiled, what keeps account of its blocks is not: every block would make another graph of it.
    """

    def __init__(self, about: CallContext, cache: ModuleCache):
        super().__init__(about.bound, about)
        self.bound, self.cache, self.time, self.conds = about.bound, cache, about.time, about.conds
        self.selected: dict[tuple[Site, int], torch.Tensor] = {}    # of a block: indices (b, n), for those who look
        self.counts: dict[Site, list[int]] = {}                     # of every block
        self.plans: dict[Site, tuple] = {}                          # of every block: token indices and their rows, best first
        self.renewed: set[Site] = set()

    @property
    def entered(self) -> bool:
        """Whether any module was reached: another node may have answered in the model's place."""
        return bool(self.lengths)

    @property
    def recomputed(self):
        """Of the grid's tokens: the share of their modules that computed them, one number or (b, N).

        Attention aside, which computes all tokens or none. Where it is not known which tokens are the grid's, each gets the mean of all.
        """
        chosen: dict[tuple, list] = {}
        whole, modules, count = 0.0, 0, math.prod(self.sizes.grid)
        for site in (site for site in self.lengths if site.kind != "self_attn" and site.stream != "txt"):
            start = self.bound.stack_of[site].grid_start(site.stream, self.lengths[site], self.sizes)
            for block, share in enumerate(self.fresh[site]):
                fresh, modules = self.selected.get((site, block)), modules + 1
                if fresh is None:
                    whole += share                                  # all or none
                else:
                    chosen.setdefault((self.lengths[site], start), []).append(fresh)
        counts = whole
        for (length, start), fresh in chosen.items():
            fresh = torch.cat(fresh, dim=1)
            ones = torch.ones(fresh.shape, device=fresh.device)
            times = torch.zeros(fresh.shape[0], length, device=fresh.device).scatter_add_(1, fresh, ones)
            on_grid = times.mean(1, keepdim=True).expand(-1, count) if start is None else times[:, start:start + count]
            counts = counts + on_grid
        return counts / max(modules, 1)

    def replacements(self):
        for stack in self.bound.stacks:
            yield from stack.replacements(self)

    def selector(self, site: Site) -> Selector:
        return self.cache.selectors[site.stack, site.stream]

    def ready(self, site: Site, x):
        """The selector of a site's stream, laid out for tokens like x (B, N, C)."""
        selector = self.selector(site)
        selector.lay_out(scored_samples(self.config, x.shape[0], self.conds), x.shape[1], x.device)
        return selector

    @torch.compiler.disable
    def received(self, stack, q, k):
        """What s1 is made of, (B, N), from an attention of a stack; q and k (B, heads, N, d)."""
        self.count_scores(stack, q.shape[2], q.shape[2])
        return attention.received(q, k, self.cache.queries.of(q))

    @torch.compiler.disable
    def score(self, site: Site, block: int, x, basis):
        """Set what s1 or s2 is made of, (b, N), for the stream of a site; x (B, N, C) are its tokens."""
        self.ready(site, x).basis[block] = basis

    @torch.compiler.disable(recursive=False)
    def run(self, site: Site, block: int, x, compute):
        """The output of a token-wise module for x (B, N, C).

        compute(rows, take): the module on rows (B, n, C) of x; take(t) gives the same rows of any t (B, N, ...).
        """
        chosen = self.pick(site, block, x)
        output = None
        if chosen.count:
            output = compute(x, chosen.take) if chosen.rows is None else self.of_rows(compute, chosen, x)
        return self.finish(site, block, chosen, output)

    @staticmethod
    @torch.compiler.disable     # few tokens, in every block others: each would make a graph of its own
    def of_rows(compute, chosen: "Chosen", x):
        return compute(chosen.take(x), chosen.take)

    @torch.compiler.disable
    def pick(self, site: Site, block: int, x) -> "Chosen":
        """Which rows of x (B, N, C) a module computes in this call; `finish` is to be called with what it made of them."""
        kept = self.kept(site, block, x)
        if kept is None:
            self.renew(site, x)
            chosen = Chosen(x.shape[1])
        else:
            fresh, rows = self.choose(site, block, x)
            count = 0 if fresh is None else fresh.shape[-1]
            if count:
                self.selected[site, block] = fresh
            every = count == x.shape[1] and site.kind != self.config.score          # whose fresh rows renew their scores one by one
            chosen = Chosen(count, kept, None if every else rows)
        self.count(site, block, x.shape[1], chosen.count)
        return chosen

    @torch.compiler.disable
    def finish(self, site: Site, block: int, chosen: "Chosen", output):
        """The output of all tokens, (B, N, C), from that of the rows picked."""
        if chosen.rows is not None:
            assert chosen.kept is not None
            chosen.kept.view(-1, chosen.kept.shape[-1]).index_copy_(0, chosen.rows, output.flatten(0, 1))
            if self.config.stale_tokens == "reuse":                 # what is forecast is made from full steps alone
                self.cache.renew(site, block, chosen.kept)
        elif chosen.count:
            if chosen.kept is None or self.config.stale_tokens == "reuse":
                self.keep(site, block, output)
            return output
        return chosen.kept

    @torch.compiler.disable(recursive=False)
    def reuse(self, site: Site, block: int, x, compute):
        """The output of an attention for x (B, N, C): computed as a whole, or reused as a whole."""
        kept = self.kept(site, block, x)
        self.count(site, block, x.shape[1], x.shape[1] if kept is None else 0)
        if kept is None:
            kept = compute()
            self.keep(site, block, kept)
        return kept

    @torch.compiler.disable
    def kept(self, site: Site, block: int, x):
        """What a partial step has of a module's output for x (B, N, C); None where every token has to be computed."""
        return None if site.kind in self.full else self.cache.load(site, block, x, self.time)

    @torch.compiler.disable
    def keep(self, site: Site, block: int, output):
        self.cache.store(site, block, output, self.time)

    @torch.compiler.disable
    def renew(self, site: Site, x):
        """A site computes every token: once per call, all its blocks' ages start again."""
        selector = self.ready(site, x)
        if site not in self.renewed:
            self.renewed.add(site)
            selector.zero_ages(site.module)

    def choose(self, site: Site, block: int, x):
        """The fresh tokens (b, n) of a block and their rows (B * n,) of the flattened x, or twice None."""
        if site not in self.counts:
            self.counts[site] = self.fresh_counts(site, x.shape[1])
            if not self.rescored(site) and (order := self.selector(site).plan(site.module, self.counts[site])) is not None:
                self.plans[site] = order, flat_rows(order, x.shape)
        count = self.counts[site][block]
        if self.rescored(site):
            fresh = self.selector(site).select(site.module, block, count)                           # moves the ages on, even for none
            return (fresh, flat_rows(fresh, x.shape).flatten()) if count else (None, None)
        if not count:
            return None, None
        order, rows = self.plans[site]
        return order[block, :, :count], rows[block, :, :count].flatten()

    def rescored(self, site: Site) -> bool:
        """Scores that change in this very call, before the module selects by them, cannot be planned ahead."""
        return site.kind != self.config.score and (self.config.score in self.full or self.changing(site.stack))

    def changing(self, stack: str) -> bool:
        """Fresh tokens of cross-attention renew their rows of s2 (algorithm: `scores.control`)."""
        if self.config.score != "cross_attn":
            return False
        return any(any(counts) for site, counts in self.counts.items() if site.stack == stack and site.kind == "cross_attn")


@dataclass(frozen=True)
class Chosen:
    """The rows that a module computes: `count` of every sample, at `rows` (B * count,) of the flattened batch; all where rows is None.

    kept    the module's last output, (B, N, C), where it is to be renewed in part or reused
    """
    count: int
    kept: torch.Tensor | None = None
    rows: torch.Tensor | None = None

    def take(self, x):
        """Of any x (B, N, C) the rows chosen, (B, count, C)."""
        return x if self.rows is None else take_rows(x, self.rows, self.count)


class BlockForward:
    """The forward of one block for the length of one call, where the block has attention written out inside."""

    def __init__(self, stack, call: Call, index: int, block: nn.Module, scoring: bool):
        self.stack, self.call, self.index, self.block = stack, call, index, block
        self.forward, self.scoring = block.forward, scoring

    @classmethod
    def of_all(cls, stack, call: Call):
        """(block, its forward for this call) for every block of a bound stack."""
        scoring = call.scoring(stack)
        for index, block in enumerate(stack.blocks):
            yield block, cls(stack, call, index, block, scoring[index])


def take_rows(x, rows, count: int):
    """Rows (B * n,) of x (B, N, C) -> (B, n, C)."""
    return x.flatten(0, 1).index_select(0, rows).unflatten(0, (x.shape[0], count))


def flat_rows(fresh, shape):
    """Indices (..., b, n) into tokens -> (..., B, n) into (B * N) rows; b divides B where conditionings share a selection."""
    batch, tokens = shape[:2]
    fresh = fresh.repeat(*[1] * (fresh.ndim - 2), batch // fresh.shape[-2], 1)
    return fresh + torch.arange(0, batch * tokens, tokens, device=fresh.device)[:, None]
