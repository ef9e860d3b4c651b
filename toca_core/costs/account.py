"""What a call of a model computes and costs: the one account that a run keeps and its prediction makes beforehand (`predict.py`).

Plain numbers; no module and no tensor is held, so that costs outlive the model they were read from.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from ..config import ToCaConfig
from ..keep import memory
from ..schedule import Step, fresh_counts, queries_read
from ..select.attention import LARGE_CHUNK
from . import flops

NARROWEST_HEAD = 32


@dataclass(frozen=True)
class Site:
    """One module per block of a stack. `kind` is what the settings speak of (`config.KINDS`), `stream` whose tokens it works on."""
    stack: str
    module: str
    kind: str
    stream: str = ""

    @property
    def name(self) -> str:
        """As users read and write it: "mlp", "spatial.mlp", "double.img_mlp"."""
        return f"{self.stack}.{self.module}" if self.stack else self.module


@dataclass(frozen=True)
class Sizes:
    """What one call works on.

    grid       tokens of the picture (frames, rows, columns)
    beside     further tokens in the picture's stream, before or after the grid: reference pictures
    context    context tokens of the whole batch
    joined     context tokens of one sample that lie in the picture's stream too
    start      where in that stream the grid begins, of a model whose entry does not say (`families.tokens`)
    numbers    of the sample, whole batch
    """
    batch: int
    grid: tuple[int, int, int]
    beside: int = 0
    context: int = 0
    joined: int = 0
    numbers: int = 0
    start: int | None = None

    @property
    def tokens(self) -> int:
        return math.prod(self.grid) + self.beside

    @property
    def stream(self) -> int:
        """Tokens of one sample in the picture's stream."""
        return self.tokens + self.joined

    @property
    def context_each(self) -> int:
        return self.context // self.batch


class StackCosts:
    """The numbers of one stack; every family has its own: module_flops, fresh_flops, tokens_of and the fields

    stack, depth, width    its row of the table, its number of blocks and the size of a token
    beside    multiply-adds per token of what all blocks compute beside their modules
    """
    stack: Any
    depth: int
    width: int
    beside: int = 0
    module_flops: Callable[[Site, int, int, int, Sizes], int]
    fresh_flops: Callable[[Sizes, int], int]
    tokens_of: Callable[[Site, Sizes], int]

    @property
    def sites(self) -> tuple[Site, ...]:
        return self.stack.sites

    def whole(self, site: Site, full: frozenset[str]) -> bool:
        """Whether a site computes every token in a call that is full for these kinds."""
        return site.kind in full

    def has(self, site: Site, block: int) -> bool:
        """Whether a block has that module."""
        return True

    def grid_in_picture(self, sizes: Sizes) -> int | None:
        """Where in the picture's stream its grid begins; None where that is not known."""
        beside = sizes.stream - math.prod(sizes.grid)
        return {"first": 0, "last": beside, "alone": None if beside else 0, "": sizes.start}[self.stack.grid]

    def text_in_picture(self, sizes: Sizes) -> slice:
        """Where in the picture's stream the text lies, of models that join them."""
        return slice(sizes.stream - sizes.joined, None) if self.stack.grid == "first" else slice(0, sizes.joined)

    def grid_start(self, stream: str, length: int, sizes: Sizes) -> int | None:
        """The same among the `length` tokens of a stream."""
        count, inside = math.prod(sizes.grid), self.grid_in_picture(sizes)
        if stream == "txt" or length < count:
            return None
        if inside is None:                                          # a stream of the picture alone is the grid, whatever lies in others
            return 0 if stream == "img" and length == count else None
        if self.stack.side == "all":
            return {"first": 0, "last": length - count, "alone": 0 if length == count else None,
                    "": inside if length == sizes.stream else None}[self.stack.grid]
        return inside if self.stack.side == "first" else max(0, length - sizes.tokens) + inside

    def misfit(self, args, kwargs, output) -> str:
        """What is wrong with what a block returned, in words; "" where a family's blocks are the host's own."""
        return ""

    def scored_by(self, score: str) -> Site | None:
        """The attention that gives the stack's scores."""
        return next((site for site in self.sites if site.kind == score), None)

    def attending(self, sizes: Sizes) -> int:
        """How many tokens of one sample attend to each other, where s1 is read."""
        return sizes.tokens

    def score_flops(self, config: ToCaConfig, sizes: Sizes, rows: int, among: int = 0) -> int:
        """An attention of one block is read for the scores: for s1 some of its queries, for s2 `rows` tokens of each sample.

        among: how many tokens attend to each other, where that is seen
        """
        if config.score == "cross_attn":
            return flops.attention_map(sizes.batch, rows, sizes.context_each, self.width)
        tokens = among or self.attending(sizes)
        return flops.attention_map(sizes.batch, queries_read(config, tokens), tokens, self.width)

    def plain_flops(self, sizes: Sizes) -> int:
        """One call of all blocks for all tokens."""
        return self.depth * sum(self.module_flops(site, sizes.batch, tokens, tokens, sizes)
                                for site in self.sites for tokens in [self.tokens_of(site, sizes)])


class ModelCosts:
    """The numbers of one model.

    stacks        StackCosts, in the order in which they run
    outside       multiply-adds outside the stacks per sample, per token and per context token
    modulation    of what all blocks compute once per sample
    side          per token, of the blocks that run between those of the stacks, and of what these compute beside their modules
    counted       FLOPs outside the stacks in a call of these sizes, where they were counted (`outside`)
    """

    def __init__(self, layout, stacks, outside: tuple[int, int, int], modulation: int, side: int = 0):
        self.layout, self.stacks, self.outside, self.modulation, self.side = layout, stacks, outside, modulation, side
        self.counted: dict[Sizes, int] = {}
        self.stack_of = {site: stack for stack in stacks for site in stack.sites}
        self.depths = {site: stack.depth for site, stack in self.stack_of.items()}

    def outside_flops(self, sizes: Sizes) -> int:
        if sizes in self.counted:
            return self.counted[sizes] + 2 * sizes.batch * self.modulation
        sample, token, context = self.outside
        return 2 * (sizes.batch * sample + sizes.batch * sizes.tokens * token + sizes.context * context)

    def skipped_flops(self, sizes: Sizes) -> int:
        """One call in which no block runs; what a block computes once per sample is not run either."""
        return self.outside_flops(sizes) - 2 * sizes.batch * self.modulation

    def refreshed_flops(self, sizes: Sizes, fresh: int) -> int:
        """One call in which `fresh` of each sample's tokens go through the blocks."""
        return self.outside_flops(sizes) + sum(stack.fresh_flops(sizes, fresh) for stack in self.stacks) + self.side_flops(sizes)

    def plain_flops(self, sizes: Sizes) -> int:
        """One call of the whole model with nothing cached."""
        return self.outside_flops(sizes) + sum(stack.plain_flops(sizes) for stack in self.stacks) + self.side_flops(sizes)

    def side_flops(self, sizes: Sizes) -> int:
        return 2 * sizes.batch * sizes.tokens * self.side

    def stack_need(self, config: ToCaConfig, sizes: Sizes, itemsize: int, attended: bool = False) -> memory.Need:
        """What the residual of all blocks takes at most, for tokens of `itemsize` bytes a number.

        attended: whether keys and values are kept beside it (`calls.refresh`).
        """
        numbers = sizes.batch * sizes.stream * self.stacks[0].width
        need = memory.anchored(config, sizes.batch * sizes.stream, self.stacks[0].width, itemsize)
        need += memory.Need(passing=memory.passing(config, numbers, itemsize))
        tokens = sum(stack.depth * stack.tokens_of(site, sizes) * stack.width
                     for site, stack in self.stack_of.items() if site.kind == "self_attn")
        return need + memory.attended(config, sizes.batch * tokens, itemsize) if attended else need

    def module_need(self, config: ToCaConfig, sizes: Sizes, conds: int, itemsize: int) -> memory.Need:
        """What the outputs of all modules take at most, in a call of `conds` conditionings."""
        need = memory.Need()
        streams: dict[tuple[str, str], tuple[int, int, list[Site]]] = {}
        for site, stack in self.stack_of.items():
            tokens = stack.tokens_of(site, sizes)
            need += memory.anchored(config, sizes.batch * tokens, stack.width, itemsize) * stack.depth
            if site.kind != "self_attn":
                streams.setdefault((site.stack, site.stream), (stack.depth, tokens, []))[2].append(site)
        samples = scored_samples(config, sizes.batch, conds)
        need += memory.Need(passing=self.scoring_bytes(config, sizes, itemsize))
        return sum((memory.selected(depth, samples * tokens, len(sites)) for depth, tokens, sites in streams.values()), start=need)

    def scoring_bytes(self, config: ToCaConfig, sizes: Sizes, itemsize: int) -> int:
        """What reading s1 takes for a moment: queries, keys, and a chunk of the attention map, as products and as shares."""
        if config.score != "self_attn":
            return 0
        width, among = max((stack.width, stack.attending(sizes)) for stack in self.stacks)
        read = queries_read(config, among)
        chunk = min(LARGE_CHUNK, sizes.batch * read * among * max(1, width // NARROWEST_HEAD))
        return round(sizes.batch * sizes.stream * (1 + read / among) * width * itemsize) + chunk * (itemsize + memory.NUMBER)


class Account:
    """What one call computes and what that costs, site by site.

    about    the call (`calls.context.CallContext`)
    full     the kinds of modules that compute every token
    """

    def __init__(self, costs: ModelCosts, about):
        self.costs, self.about, self.config, self.sizes, self.full = costs, about, about.config, about.sizes, about.full
        self.inside = self.plain_inside = costs.side_flops(self.sizes)
        self.fresh = {site: [0.0] * depth for site, depth in costs.depths.items()}     # share of fresh tokens per block
        self.lengths: dict[Site, int] = {}                          # number of tokens that it works on
        self.contexts: dict[Site, int] = {}                         # context tokens of the whole batch, where that is seen in the call

    @property
    def flops(self) -> int:
        return self.inside + self.costs.outside_flops(self.sizes)

    @property
    def plain_flops(self) -> int:
        return self.plain_inside + self.costs.outside_flops(self.sizes)

    @property
    def kind(self) -> str:
        return "full" if self.full.issuperset(self.costs.layout.kinds) else "partial"

    @property
    def fresh_per_block(self) -> dict[str, list[float]]:
        """The share of fresh tokens of every module in each block."""
        return {site.name: [round(share, 6) for share in blocks] for site, blocks in self.fresh.items()}

    def fresh_counts(self, site: Site, tokens: int) -> list[int]:
        """How many of each sample's tokens a site computes in every block, where its kind is not full."""
        return fresh_counts(self.config, self.about.step, site, self.costs.depths[site], tokens)

    def scoring(self, stack: StackCosts) -> list[bool]:
        """In which blocks of a stack this call renews the scores: where any partial step before the next renewal has fresh tokens.

        Ratios are linear in the step, so the two ends of that stretch tell.
        """
        step = self.about.step
        ahead = self.about.cycle.partial_steps_ahead(step, self.config.score) if self.config.score in self.full else 0
        if not ahead:
            return [False] * stack.depth
        ends = (step, Step(step.index + ahead, step.position + ahead, step.total))
        counts = [fresh_counts(self.config, step, site, stack.depth, 1 << 20) for step in ends for site in stack.sites]
        return [any(of_block) for of_block in zip(*counts, strict=True)]

    def count(self, site: Site, block: int, tokens: int, fresh: int):
        """A module computes `fresh` of each sample's `tokens`."""
        stack = self.costs.stack_of[site]
        self.fresh[site][block], self.lengths[site] = fresh / tokens, tokens
        sizes = replace(self.sizes, context=self.contexts[site]) if site in self.contexts else self.sizes
        self.inside += stack.module_flops(site, sizes.batch, fresh, tokens, sizes)
        self.plain_inside += stack.module_flops(site, sizes.batch, tokens, tokens, sizes)

    def count_scores(self, stack: StackCosts, rows: int, among: int = 0):
        """An attention of the stack is read for the scores, s2 of `rows` of each sample's tokens; among: as in `score_flops`."""
        self.inside += stack.score_flops(self.config, self.sizes, rows, among)


def scored_samples(config: ToCaConfig, batch: int, conds: int) -> int:
    """How many samples of a batch have scores of their own; conditionings share those that are averaged or drawn."""
    return batch // (1 if config.score == "self_attn" else conds)
