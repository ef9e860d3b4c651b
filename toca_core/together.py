"""Processes that compute one sample together, each its part: all of them have to take the same decisions.

Where one computes a step and another skips it, the first waits for ever for the other's part. So what decides is agreed upon: the error
measured, by the largest of any; the memory there is, by the least.
"""

import math
from datetime import timedelta

import torch
import torch.distributed as dist

SECONDS = 60.0                  # after which a process that does not answer counts as lost
EARLIER: list = []              # the group of the last run
GONE = "Another of the processes that compute this sample has stopped; its own error says why."


class Alone:
    """A process that computes a sample by itself."""
    alone = True

    def largest(self, value: float | None) -> float | None:
        """Of the numbers that the processes have; None where none has one."""
        return value

    def least(self, value: float) -> float:
        return value

    def leave(self, failed: bool):
        """The sampler is done; failed: by an error, which the others do not know of. From then on it answers for itself alone."""


class Together:
    """The processes of `torch.distributed`'s default group, for one run: all of them have to make one at the same time.

    `largest` and `least` raise RuntimeError where another process has failed, or not answered for `seconds`. What is agreed upon are single
    numbers in the host's memory, over gloo, so that no device waits for another because of them.
    """
    alone, left = False, False

    def __init__(self, seconds: float = SECONDS):
        self.group = dist.new_group(backend="gloo", timeout=timedelta(seconds=seconds))
        for earlier in EARLIER:                                     # all processes have left that run, or they would not be here
            dist.destroy_process_group(earlier)
        EARLIER[:] = [self.group]

    def largest(self, value: float | None) -> float | None:
        found = self.agreed(-math.inf if value is None else value)
        return None if found == -math.inf else found

    def least(self, value: float) -> float:
        return -self.agreed(-value)

    def agreed(self, value: float) -> float:
        if self.left:
            return value
        found = torch.tensor([0.0, value], dtype=torch.float64)
        dist.all_reduce(found, dist.ReduceOp.MAX, group=self.group)
        if found[0]:
            raise RuntimeError(GONE)
        return found[1].item()

    def leave(self, failed: bool):
        self.left = True
        if failed:                                                  # whoever asks next is told; nobody waits for that
            gone = torch.tensor([1.0, 0.0], dtype=torch.float64)
            self.told = dist.all_reduce(gone, dist.ReduceOp.MAX, group=self.group, async_op=True)
