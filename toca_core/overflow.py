"""Numbers that are not finite: which picture of a batch has them, and since when."""

from itertools import groupby

import torch


class Overflows:
    """What is seen of every call stays on its device until the run is over, so that nothing waits for it."""

    def __init__(self):
        self.seen: list[tuple[int, torch.Tensor]] = []              # (evaluation, of every picture whether all is finite)

    def saw(self, evaluation: int, output, conds: int = 1):
        """The answer (B, C, ...) to a call of `conds` conditionings, picture by picture in each."""
        if output.shape[0] % conds:
            return
        finite = torch.isfinite(output).flatten(1).all(1)
        self.seen.append((evaluation, finite.unflatten(0, (conds, -1)).all(0)))

    def first(self) -> dict[int, int]:
        """Picture -> the evaluation in which it first had one."""
        found: dict[int, int] = {}
        for _, alike in groupby(self.seen, lambda seen: (seen[1].device, len(seen[1]))):        # one wait for all
            evaluations, finite = zip(*alike, strict=True)
            for place, picture in torch.stack(finite).logical_not().nonzero().tolist():
                found.setdefault(picture, evaluations[place])
        return found

    def sentences(self):
        """For the report."""
        for picture, evaluation in self.first().items():
            yield (f"Picture {picture + 1} has numbers that are not finite from step {evaluation + 1} on (an overflow in the model, or its "
                   f"weights); the others of its batch are not touched by that")
