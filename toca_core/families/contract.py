"""What a stack of blocks has to give once it is bound to a model, and what is said of one that does not.

Nothing here is guessed: whatever an entry of the model table claims is looked up on the model when it is bound, so that a wrong
claim, or a model that its maker changed, fails there and by name.
"""

import inspect
from collections.abc import Callable
from typing import Any, NoReturn, Protocol, runtime_checkable

from torch import nn


class ContractError(ValueError):
    """An entry claims what the model does not have; the message names the model's class, the stack and the claim."""


@runtime_checkable
class Stack(Protocol):
    """A bound stack, as level stack and every account of costs need it. Shapes: tokens are (B, N, C), whatever the block takes.

    stack        the row it was bound from
    blocks       the modules, in the order in which they run
    width        C, the size of a token
    macs         multiply-adds per token of all blocks together
    """
    stack: Any
    blocks: Any
    depth: int
    width: int
    macs: int

    def picture_in(self, args, kwargs):
        """The picture's tokens among a block's arguments."""

    def picture_out(self, output, count: int):
        """The picture's `count` tokens in what a block returned."""

    def passed(self, args, kwargs, picture=None):
        """What a block returns that is passed by: its streams as they came, or with these tokens of the picture."""

    def changed(self, output, picture):
        """What a block returned, with these tokens of the picture in place of its own."""

    def misfit(self, args, kwargs, output) -> str:
        """What a block returned that the entry does not say, in words."""

    def plain_flops(self, sizes) -> int:
        """One call of all blocks for all tokens."""

    def tokens_of(self, site, sizes) -> int:
        """How many tokens of one sample a site works on."""


@runtime_checkable
class ModuleStack(Stack, Protocol):
    """A stack whose modules can be told apart, as level module needs it."""

    def replacements(self, call):
        """(module, its forward) for the length of one call (`calls.module.Call`)."""


@runtime_checkable
class RefreshStack(Stack, Protocol):
    """A stack through which single tokens can go (`calls.refresh`)."""

    def fresh_in(self, args, kwargs, call, first: bool):
        """A block's arguments with the fresh tokens alone."""

    def fresh_out(self, output, call):
        """What the last block returns: the fresh tokens among the others."""


class Claims:
    """Looks up what a row says of a model; every failure is a ContractError."""

    def __init__(self, model: nn.Module, stack: str):
        self.model, self.stack = model, stack

    def refuse(self, what: str) -> NoReturn:
        raise ContractError(f"{type(self.model).__name__}, {self.stack or 'blocks'}: {what}")

    def module(self, path: str, owner: nn.Module | None = None, where: str = "") -> nn.Module:
        try:
            return (self.model if owner is None else owner).get_submodule(path)
        except AttributeError:
            self.refuse(f"there is no {where}{path}")

    def modules(self, path: str) -> list[nn.Module]:
        """Those at a path; where it says *, of every member of that list: "refiner.*.mlp"."""
        before, star, after = path.partition("*")
        if not star:
            return [self.module(path)]
        return [self.module(after[1:], member) for member in self.module(before.rstrip(".")).children()]

    def blocks(self, path: str, left_out: str = "") -> list[nn.Module]:
        """The members of a list of blocks, of which there is at least one, without those of the indices in this attribute of the model."""
        found = self.module(path)
        if not isinstance(found, (nn.ModuleList, nn.ModuleDict, nn.Sequential)):
            self.refuse(f"{path} is {type(found).__name__}, not a list of blocks")
        members = list(found.values() if isinstance(found, nn.ModuleDict) else found)
        if not members:
            self.refuse(f"{path} has no blocks")
        indices = getattr(self.model, left_out, ()) if left_out else ()
        members = [block for index, block in enumerate(members) if index not in indices]
        if not members:
            self.refuse(f"{left_out} leaves none of the blocks")
        return members

    def arguments(self, block: nn.Module) -> tuple[dict[str, int], bool]:
        """-> (position of every named argument of a block's forward, whether it takes further ones without a name)."""
        parameters = list(inspect.signature(type(block).forward).parameters.values())[1:]
        named = [one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]
        return {one.name: index for index, one in enumerate(named)}, any(one.kind == one.VAR_POSITIONAL for one in parameters)

    def argument(self, block: nn.Module, name: str | int):
        """A block takes an argument of this name, or has this position."""
        named, more = self.arguments(block)
        known = name in named if isinstance(name, str) else more or name < len(named)
        if not known:
            self.refuse(f"a block ({type(block).__name__}) takes no argument {name}; it takes {', '.join(named) or 'none by name'}")

    def keyword(self, owner: nn.Module, name: str):
        """A module takes this argument by name."""
        if not any(one.kind == one.VAR_KEYWORD for one in inspect.signature(type(owner).forward).parameters.values()):
            self.argument(owner, name)

    def projections(self, owner: nn.Module, paths: tuple[str, ...], where: str):
        """Linear layers that make queries, keys and values: one fused, a query layer and a fused rest, or three of them."""
        layers = [self.module(path, owner, f"{where}.") for path in paths]
        sizes = [getattr(layer, "out_features", None) for layer in layers]
        if None in sizes:
            self.refuse(f"{where}.{paths[sizes.index(None)]} is no linear layer")
        numbers = ", ".join(f"{path} gives {size}" for path, size in zip(paths, sizes, strict=True))
        rules: dict[int, Callable[..., bool]] = {1: lambda qkv: qkv % 3 == 0, 2: lambda q, kv: kv == 2 * q, 3: lambda q, k, v: k == v == q}
        fits = rules.get(len(paths))
        if fits is None or not fits(*sizes):
            self.refuse(f"the projections of {where} are one fused layer, a query layer and a fused key-value layer of twice its size, or "
                        f"three layers of one size; here {numbers}")
