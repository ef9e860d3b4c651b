"""Working ahead of a graphics card: what it is going to say is taken once it is there, and nothing waits for that before it has to.

The program queues a step while the card computes the one before. Each number that it reads at once would stop it until the queue is empty.
"""

import time
from collections import deque
from collections.abc import Sequence

import torch

from .report import StepReport

UNREAD = 8                      # noise levels that were taken as foretold and not looked at yet, at most


class Mark:
    """A moment in the work of a device; of one that is not CUDA's in the program's own."""

    def __init__(self, device: torch.device | None = None):
        self.device, self.time = device, time.perf_counter()
        self.event = torch.cuda.Event(enable_timing=True) if device is not None and device.type == "cuda" else None
        if self.event is not None:
            self.event.record(torch.cuda.current_stream(device))

    @property
    def passed(self) -> bool:
        return self.event is None or self.event.query()

    def since(self, earlier: "Mark") -> float:
        """Seconds. Waits for this moment."""
        if self.event is None or earlier.event is None or self.device != earlier.device:
            return self.time - earlier.time
        self.event.synchronize()
        return earlier.event.elapsed_time(self.event) / 1000


class Number:
    """The largest of the numbers in tensors of one number each, wherever they lie. float() waits for it."""

    def __init__(self, tensors: Sequence[torch.Tensor]):
        self.parts = [self.on_its_way(tensor.detach()) for tensor in tensors]

    @staticmethod
    def on_its_way(tensor) -> tuple[torch.Tensor, Mark]:
        """-> (where it will be, when)."""
        if tensor.device.type != "cuda":
            return tensor, Mark()
        host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        host.copy_(tensor, non_blocking=True)
        return host, Mark(tensor.device)

    @property
    def passed(self) -> bool:
        return all(mark.passed for _, mark in self.parts)

    def __float__(self) -> float:
        for _, mark in self.parts:
            if mark.event is not None:
                mark.event.synchronize()
        return max(float(host) for host, _ in self.parts)


class NoiseLevels:
    """Those that a sampler asks about, one by one; where they were foretold they need not be read to go on, only to be sure.

    foretold    in the order in which they will come; empty where that is not known
    """

    def __init__(self, foretold: Sequence[float] = ()):
        self.foretold, self.asked = list(foretold), 0
        self.unread: deque[tuple[float, Number]] = deque()

    def next(self, sigma: torch.Tensor) -> float:
        """The noise level of an evaluation, which the sampler gives as a tensor of equal numbers."""
        expected = self.foretold[self.asked] if self.asked < len(self.foretold) else None
        self.asked, number = self.asked + 1, Number([sigma.flatten()[0]])
        if expected is None or number.passed:
            return float(number)
        self.unread.append((expected, number))
        return expected

    def came_otherwise(self) -> bool:
        """Whether one was not as foretold, as far as they are there; then no more is foretold."""
        while self.unread and (len(self.unread) > UNREAD or self.unread[0][1].passed):
            expected, number = self.unread.popleft()
            if abs(float(number) - expected) > 1e-3 * expected:
                self.foretold = []
                self.unread.clear()
                return True
        return False


class StepReports:
    """What steps took and erred by, written into their reports once it is known."""

    def __init__(self):
        self.open: deque[tuple[StepReport, Mark, Mark, float | Number | None]] = deque()

    def add(self, step: StepReport, began: Mark, ended: Mark, error: float | Number | None):
        self.open.append((step, began, ended, error))
        self.write()

    def write(self, every: bool = False):
        """every: waits for those that are not there yet."""
        while self.open and (every or self.open[0][2].passed):      # the error is there before the step has ended
            step, began, ended, error = self.open.popleft()
            step.seconds = ended.since(began)
            if error is not None:
                step.error = 100 * float(error)
