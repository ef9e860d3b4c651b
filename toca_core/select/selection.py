"""From scores to the fresh tokens of a partial step."""

import copy
from collections.abc import Callable

import torch

from ..config import ToCaConfig
from . import scores
from .regions import among
from .seeding import generator


class Selector:
    """The scores and ages of the tokens of one stream in every block of a stack, for one group of conditionings.

    basis (blocks, B, N)    what s1 or s2 is made of, renewed at full steps (s2's rows also by fresh tokens)
    priority (b, n)    multiplies the scores of the grid's tokens
    start    (number of tokens) -> where among them the grid begins, or None
    ages {module: (blocks, B, N)}    steps since a token was computed, one counter per block and module

    Kept out of compiled graphs: it runs once a step, and what it decides must not be frozen into one.
    """

    def __init__(self, config: ToCaConfig, depth: int, modules: tuple[str, ...], grid: tuple[int, int, int], seed: int,
                 priority=None, start: Callable[[int], int | None] = lambda tokens: 0):
        self.priority, self.start = priority, start
        self.config, self.depth, self.modules, self.grid, self.seed = config, depth, modules, grid, seed
        self.basis: torch.Tensor | None = None
        self.ages: dict[str, torch.Tensor] = {}
        self.generator: torch.Generator | None = None

    @torch.compiler.disable
    def lay_out(self, batch: int, tokens: int, device):
        """Make room for these tokens, unless it is there."""
        shape = (self.depth, batch, tokens)
        if self.basis is None or self.basis.shape != shape:
            self.basis = torch.zeros(shape, device=device)
            self.ages = {module: torch.zeros(shape, device=device) for module in self.modules}
            self.generator = generator(device, self.seed)

    def zero_ages(self, module: str):
        """A full step of a module: every token is fresh."""
        self.ages[module].zero_()

    def order(self, module: str, blocks=slice(None)):
        """Token indices (..., N), best first, of all blocks or of one."""
        assert self.basis is not None                               # laid out before anything is chosen
        basis, config = self.basis[blocks], self.config
        if config.score == "random":
            base = torch.rand(basis.shape, generator=self.generator, device=basis.device)
        else:
            base = scores.influence(basis) if config.score == "self_attn" else scores.control(basis)
        score = base + config.staleness_weight * scores.staleness(self.ages[module][blocks], config.cycle)
        start = self.start(score.shape[-1]) if self.priority is not None or config.spread_bonus else None
        if self.priority is not None and start is not None:
            score = score * self.weights(score, start)
        if config.spread_bonus and start is not None:                                       # text and reference tokens lie on no grid
            frames, rows, columns = self.grid
            on_grid = score[..., start:start + frames * rows * columns]
            on_grid.copy_(scores.spread(on_grid.unflatten(-1, (frames, -1)), (rows, columns), config.spread_cell,
                                        config.spread_bonus).flatten(-2))
        return score.argsort(dim=-1, descending=True)

    @property
    def placed(self) -> bool:
        """Whether it is known where the grid is, or nothing is to be placed yet."""
        return self.basis is None or self.start(self.basis.shape[-1]) is not None

    def weights(self, score, start: int):
        """The priority of all tokens, (B, N), for scores (..., B, N) or of one block; text and references beside the grid count once."""
        every = among(self.priority.to(score), start, score.shape[-1], beside=1.0)
        return every.repeat(score.shape[-2] // len(every), 1)

    @torch.compiler.disable
    def plan(self, module: str, counts: list[int]):
        """The tokens of every block, (blocks, B, N), best first, of which a partial step's counts[block] are fresh; ages move on.

        None where none is.
        """
        ages = self.ages[module]
        if not any(counts):
            ages += 1
            return None
        order = self.order(module)
        rank = torch.arange(ages.shape[-1], device=ages.device)
        most = torch.tensor(counts).to(ages.device, non_blocking=ages.is_cuda)                      # which waits for no kernel
        fresh = rank < most[:, None, None]                                                          # (blocks, 1, N)
        ages += 1
        ages.scatter_(-1, order, ages.gather(-1, order) * ~fresh)
        return order

    @torch.compiler.disable
    def select(self, module: str, block: int, count: int):
        """As `plan`, for one block whose scores have changed during the step: indices (B, count)."""
        fresh = self.order(module, block)[:, :count]
        ages = self.ages[module][block]
        ages += 1
        ages.scatter_(-1, fresh, 0.0)
        return fresh

    def divided(self, count: int) -> list["Selector"]:
        """One for each of `count` conditionings: its own scores, or a copy of those that they share (`account.scored_samples`)."""
        parts = [copy.copy(self) for _ in range(count)]
        if self.basis is not None:
            own = self.config.score == "self_attn"

            def part_of(tensor, index: int):
                return tensor.chunk(count, dim=1)[index] if own else tensor.clone()

            for index, part in enumerate(parts):
                part.basis, part.ages = part_of(self.basis, index), {name: part_of(ages, index) for name, ages in self.ages.items()}
        return parts

    @classmethod
    def joined(cls, parts: list["Selector"]) -> "Selector":
        """The other way; where conditionings share scores, the mean of theirs, and the ages of the first."""
        first = parts[0]
        whole = copy.copy(first)
        if first.basis is None or any(part.basis is None or part.basis.shape != first.basis.shape for part in parts):
            whole.basis, whole.ages = None, {}
        elif first.config.score == "self_attn":
            whole.basis = torch.cat([part.basis for part in parts if part.basis is not None], dim=1)
            whole.ages = {name: torch.cat([part.ages[name] for part in parts], dim=1) for name in first.ages}
        else:
            whole.basis = torch.stack([part.basis for part in parts if part.basis is not None]).mean(0)
        return whole

    @property
    def bytes(self) -> int:
        return 0 if self.basis is None else self.basis.nbytes + sum(ages.nbytes for ages in self.ages.values())
