"""Where a model keeps what: stacks of blocks, each of a family (`sequential`, `joint`, `parallel`, `tokens`), and what runs beside them."""

from dataclasses import dataclass
from typing import Generic, Protocol

from torch import nn

from ..costs import flops
from ..costs.account import ModelCosts, Sizes
from ..costs.outside import Outside
from ..swap import swapped
from .contract import Claims, ModuleStack, Stack


@dataclass(frozen=True)
class Layout:
    """
    per_token, per_context    modules outside the stacks that run once per token or per context token (for the FLOPs); "refiner.*.mlp"
                              is that of every member of a list
    beside     side stacks, whose blocks run between those of the stacks and are skipped with them
    """
    system: str
    stacks: tuple
    per_token: tuple[str, ...] = ()
    per_context: tuple[str, ...] = ()
    beside: tuple["SideStack", ...] = ()

    @property
    def kinds(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(site.kind for stack in self.stacks for site in stack.sites))

    @property
    def scores(self) -> tuple[str, ...]:
        """The scores that every stack can give."""
        return tuple(score for score in ("self_attn", "cross_attn") if all(score in stack.scores for stack in self.stacks))

    @property
    def refreshes(self) -> bool:
        """Whether single tokens can go through all blocks (`calls.refresh`)."""
        return all(stack.attending is not None for stack in self.stacks) and not self.beside

    @property
    def levels(self) -> tuple[str, ...]:
        """The levels that a model of this layout can be cached at."""
        return ("module", "stack", "output") if all(stack.modular for stack in self.stacks) else ("stack", "output")

    def bind(self, model: nn.Module) -> "BoundModel":
        """Raises ContractError where the model does not have what this says."""
        return BoundModel(self, model)


@dataclass(frozen=True)
class SideStack:
    """Blocks that take and return (what is added to the stacks' tokens, what goes to the next of them); passed by, they add nothing.

    after    attribute of the model: index of a block -> that of the side block whose result is added after it. Where one is added
             after the last block, none is passed by.
    """
    path: str
    after: str

    def bind(self, model: nn.Module, depth: int) -> list[nn.Module]:
        """Those that can be passed by."""
        claims = Claims(model, self.path)
        mapping = getattr(model, self.after, None)
        if not isinstance(mapping, dict):
            claims.refuse(f"there is no {self.after} that says after which blocks they are added")
        return [] if depth - 1 in mapping else claims.blocks(self.path)

    def passed(self, args, kwargs):
        first = args[0]
        return first.new_zeros(()).expand_as(first), first


class BoundModel(ModelCosts):
    """A layout applied to a loaded model: its sites, their depths and what its parts cost."""

    def __init__(self, layout: Layout, model: nn.Module):
        self.model, claims = model, Claims(model, layout.system)
        stacks = [stack.bind(model) for stack in layout.stacks]
        for stack in stacks:
            check(stack, claims)
        self.sides = [(side, block) for side in layout.beside for block in side.bind(model, stacks[-1].depth)]
        token, context = (sum(flops.macs(module) for path in paths for module in claims.modules(path))
                          for paths in (layout.per_token, layout.per_context))
        between, besides = sum(flops.macs(block) for _, block in self.sides), sum(stack.beside for stack in stacks)
        inside = sum(flops.macs(block) for stack in stacks for block in stack.blocks)
        sample = flops.macs(model) - inside - token - context - between
        modulation = inside - sum(stack.macs for stack in stacks) - besides
        super().__init__(layout, stacks, (sample + modulation, token, context), modulation, between + besides)

    @property
    def costs(self) -> ModelCosts:
        """The numbers alone, without the model."""
        costs = ModelCosts(self.layout, [stack.costs for stack in self.stacks], self.outside, self.modulation, self.side)
        costs.counted |= self.counted
        return costs

    def counting(self, sizes: Sizes, run_model):
        """The call of the model, in which what runs outside the stacks is counted, if the entry does not say and no call did yet."""
        if self.layout.per_token or sizes in self.counted:
            return run_model

        def run():
            blocks = [block for stack in self.stacks for block in stack.blocks]
            outside = Outside(self.model, [*blocks, *(block for _, block in self.sides)])
            with swapped(outside.replacements()):
                output = run_model()
            if outside.flops:                                       # else another node answered in the model's place
                self.counted[sizes] = outside.flops
            return output
        return run


def check(stack, claims: Claims):
    """Raises ContractError for a bound stack that lacks a member of its contract."""
    contract = ModuleStack if stack.stack.modular else Stack
    members = {name for base in contract.__mro__[:-1] if base not in (Protocol, Generic)
               for name in (*vars(base).get("__annotations__", ()), *vars(base)) if not name.startswith("_")}
    missing = sorted(name for name in members if not hasattr(stack, name))
    if missing:
        claims.refuse(f"a bound {type(stack).__name__} lacks {', '.join(missing)}")
