"""The blocks of a model that no entry names, found by watching one call of it: lists whose members hand tensors on from one to the next.

What is found is a claim like any entry's: it is bound under the same contract, and where anything is in doubt nothing is found.
"""

import inspect
from dataclasses import dataclass, field

import torch
from torch import nn

from ..costs import flops
from ..costs.account import Sizes
from .contract import ContractError
from .layout import Layout
from .tokens import TokenStack

LEAST_SHARE = 0.3               # of the model's multiply-adds that have to lie in the blocks found, or skipping them gains little


@dataclass
class Chain:
    """One list of blocks, as it ran: `links`, hop by hop, say which of a block's results became which argument of the next."""
    path: str
    members: list
    order: list[int] = field(default_factory=list)
    links: list[dict] = field(default_factory=list)
    returns: int = 0                                                # how many results a block returns; 0: one, not in a tuple
    arguments: dict = field(default_factory=dict)                   # of the first block: name -> number of tokens
    before: str | None = None                                       # the chain that ran before it
    sides: dict = field(default_factory=dict)                       # (result of that chain's last block, argument) -> "first", "last"

    @property
    def whole(self) -> bool:
        """Every block ran once, in order, and each handed on the same."""
        every = self.order == list(range(len(self.members))) and bool(self.links)
        return every and all(link and link == self.links[0] for link in self.links)

    @property
    def macs(self) -> int:
        return sum(map(flops.macs, self.members))


class Watch:
    """`replacements` are the forwards to swap in for one call; then `layout` tells what was seen."""

    def __init__(self, model: nn.Module):
        self.model, self.chains = model, candidates(model)
        self.last: tuple[str, int, dict] | None = None              # (path, index, results) of the block that ran last

    def replacements(self):
        for chain in self.chains.values():
            for index, block in enumerate(chain.members):
                yield block, Watched(self, chain, index, block)

    def entering(self, chain: Chain, index: int, given: dict):
        chain.order.append(index)
        path, before, results = self.last or (None, -1, {})
        if path == chain.path and index == before + 1:
            chain.links.append(handed_on(results, given))
        elif index == 0:
            chain.arguments = {name: tensor.shape[1] for name, tensor in given.items()}
            chain.before, chain.sides = path, sides_of(results, given)

    def layout(self, sizes: Sizes) -> Layout | None:
        """Where the blocks are, for a model whose picture has that many tokens; None where they cannot be told."""
        whole = {path: chain for path, chain in self.chains.items() if chain.whole}
        main = max(whole.values(), key=lambda chain: chain.macs, default=None)
        if main is None:
            return None
        follower = next((chain for chain in self.chains.values() if chain.before == main.path), None)
        stacks = joined(whole.get(main.before or ""), main) or joined(main, follower) or alone(main, sizes, follower)
        if not stacks or sum(self.chains[stack.path].macs for stack in stacks) < LEAST_SHARE * flops.macs(self.model):
            return None
        layout = Layout("", stacks)
        try:
            layout.bind(self.model)
        except ContractError:
            return None
        return layout


class Watched:
    """The forward of one block for the length of the call that is watched."""

    def __init__(self, watch: Watch, chain: Chain, index: int, block: nn.Module):
        self.watch, self.chain, self.index, self.forward = watch, chain, index, block.forward
        self.names = positional(block)

    @torch.compiler.disable(recursive=False)
    def __call__(self, *args, **kwargs):
        names = self.names + list(range(len(self.names), len(args)))
        given = {name: value for name, value in (*zip(names, args, strict=False), *kwargs.items()) if is_tokens(value)}
        self.watch.entering(self.chain, self.index, given)
        output = self.forward(*args, **kwargs)
        several = isinstance(output, (tuple, list))
        self.chain.returns = max(self.chain.returns, len(output) if several else 0)
        results = enumerate(output) if several else [(None, output)]
        self.watch.last = self.chain.path, self.index, {slot: value for slot, value in results if is_tokens(value)}
        return output


def positional(block: nn.Module) -> list[str]:
    """The names of the arguments that a block takes by position."""
    parameters = list(inspect.signature(type(block).forward).parameters.values())[1:]
    return [one.name for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]


def is_tokens(value) -> bool:
    return torch.is_tensor(value) and value.ndim >= 3 and value.is_floating_point()


def candidates(model: nn.Module) -> dict[str, Chain]:
    """Lists of at least two blocks of one class with weights, outermost ones only."""
    found: dict[str, Chain] = {}
    for path, module in model.named_modules():
        listed = isinstance(module, (nn.ModuleList, nn.ModuleDict)) and len(module) >= 2
        if not listed or any(path.startswith(f"{outer}.") for outer in found):
            continue
        members = list(module.values() if isinstance(module, nn.ModuleDict) else module)
        if len({type(member) for member in members}) == 1 and next(members[0].parameters(), None) is not None:
            found[path] = Chain(path, members)
    return found


def handed_on(results: dict, given: dict) -> dict:
    """Which result became which argument: the same tensor, or the same memory."""
    return {slot: name for slot, result in results.items() for name, value in given.items()
            if value is result or value.data_ptr() == result.data_ptr() and value.shape == result.shape}


def sides_of(results: dict, given: dict) -> dict:
    """Where the results of one chain lie in the arguments of the next, which may hold several of them side by side."""
    found = {}
    for slot, result in results.items():
        for name, value in given.items():
            count = result.shape[1]
            if result.ndim != 3 or value.ndim != 3 or value.shape[1] <= count or value.shape[2] != result.shape[2]:
                continue
            if torch.equal(value[:, -count:], result):
                found[slot, name] = "last"
            elif torch.equal(value[:, :count], result):
                found[slot, name] = "first"
    return found


def alone(chain: Chain, sizes: Sizes, follower: Chain | None) -> tuple[TokenStack, ...]:
    """One stack: of one stream, or of several of which just one is as long as the picture, and the others go no further."""
    streams = streams_of(chain)
    if streams is None:
        return ()
    if not isinstance(streams, tuple):
        return (TokenStack(chain.path, streams),)
    if follower is not None:
        return ()
    pictures = [name for name in streams if chain.arguments.get(name) == sizes.tokens]
    return (TokenStack(chain.path, streams, pictures[0]),) if len(pictures) == 1 else ()


def joined(first: Chain | None, second: Chain | None) -> tuple[TokenStack, ...]:
    """Two stacks, the second of one stream that holds both of the first side by side; the picture is what is told by its place."""
    if first is None or second is None or not (first.whole and second.whole):
        return ()
    streams, stream = streams_of(first), streams_of(second)
    if not isinstance(streams, tuple) or len(streams) != 2 or isinstance(stream, tuple) or stream is None:
        return ()
    places = {streams[slot]: side for (slot, name), side in second.sides.items() if name == stream and slot is not None}
    counts = {name: first.arguments[name] for name in places if name in first.arguments}
    if len(counts) != 2 or len(set(places.values())) != 2:
        return ()
    picture = max(counts, key=lambda name: counts[name])            # more tokens than its text
    return TokenStack(first.path, streams, picture), TokenStack(second.path, stream, side=places[picture])


def streams_of(chain: Chain):
    """What a block takes and returns: one name, a tuple of names, or None where a result goes nowhere."""
    link = chain.links[0]
    if None in link:
        return link[None]
    return tuple(link[slot] for slot in range(chain.returns)) if set(link) == set(range(chain.returns)) else None
