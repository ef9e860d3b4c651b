"""What a card is going to say is taken once it is there: with a card that is only told of, whose work the test lets pass."""

import pytest
import torch

from toca_core import ahead
from toca_core.report import StepReport


class Card:
    """Its events pass one after another, as the test says."""

    def __init__(self):
        self.events, self.now, self.waited = [], 0, 0

    def pass_on(self, events: int):
        self.now = min(self.now + events, len(self.events))


class Event:
    def __init__(self, card: Card):
        self.card = card

    def record(self, _stream):
        self.place = len(self.card.events)
        self.card.events.append(self)

    def query(self) -> bool:
        return self.place < self.card.now

    def synchronize(self):
        if not self.query():
            self.card.waited += 1
            self.card.now = self.place + 1

    def elapsed_time(self, later) -> float:
        return 1000.0 * (later.place - self.place)                  # a second from one to the next


@pytest.fixture
def card(monkeypatch):
    card = Card()
    monkeypatch.setattr(torch.cuda, "Event", lambda enable_timing: Event(card))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: None)
    empty = torch.empty
    monkeypatch.setattr(torch, "empty", lambda *args, pin_memory=False, **kwargs: empty(*args, **kwargs))
    return card


class There:
    """A tensor on the card."""
    device, shape, dtype = torch.device("cuda", 0), (), torch.float32

    def __init__(self, value: float):
        self.value = torch.tensor(value)

    def detach(self):
        return self

    def flatten(self):
        return [self]


@pytest.fixture(autouse=True)
def copied(monkeypatch):
    """A copy from the card takes the number along."""
    copy = torch.Tensor.copy_
    monkeypatch.setattr(torch.Tensor, "copy_", lambda to, other, non_blocking=False: copy(to, getattr(other, "value", other)))


CUDA = torch.device("cuda", 0)


def test_of_a_cpu_everything_is_there_at_once():
    levels = ahead.NoiseLevels([1.0, 0.5])
    assert [levels.next(torch.full((2,), value)) for value in (1.0, 0.25, 0.125)] == [1.0, 0.25, 0.125]
    assert not levels.came_otherwise() and not levels.unread
    step, reports, began = StepReport(0, 1.0, "full"), ahead.StepReports(), ahead.Mark()
    reports.add(step, began, ahead.Mark(torch.device("cpu")), ahead.Number([torch.tensor(0.25), torch.tensor(0.5)]))
    assert step.error == 50.0 and 0 < step.seconds < 1 and not reports.open


def test_levels_that_were_foretold_are_not_waited_for(card):
    levels = ahead.NoiseLevels([1.0, 0.5, 0.25])
    assert [levels.next(There(value)) for value in (1.0, 0.5, 0.25)] == [1.0, 0.5, 0.25]
    assert not levels.came_otherwise() and card.waited == 0 and len(levels.unread) == 3
    card.pass_on(2)
    assert not levels.came_otherwise() and card.waited == 0 and len(levels.unread) == 1
    assert levels.next(There(0.125)) == 0.125 and card.waited == 1              # nothing was foretold of it


def test_no_more_than_a_few_are_taken_on_trust(card):
    levels = ahead.NoiseLevels([1.0] * 20)
    for asked in range(20):
        levels.next(There(1.0))
        assert not levels.came_otherwise()
        assert len(levels.unread) == min(asked + 1, ahead.UNREAD) and card.waited == max(0, asked + 1 - ahead.UNREAD)


def test_one_that_came_otherwise_is_told_once_and_the_rest_is_read(card):
    levels = ahead.NoiseLevels([1.0, 0.5, 0.25, 0.125])
    assert [levels.next(There(value)) for value in (1.0, 0.5001, 0.3)] == [1.0, 0.5, 0.25]
    assert not levels.came_otherwise()
    card.pass_on(3)
    assert levels.came_otherwise() and not levels.came_otherwise()
    assert levels.next(There(0.2)) == pytest.approx(0.2) and not levels.came_otherwise()


def test_a_step_is_told_of_when_it_is_over_on_the_card(card):
    steps, reports = [StepReport(index, 1.0, "full") for index in range(2)], ahead.StepReports()
    first, error = ahead.Mark(CUDA), ahead.Number([There(0.01), There(0.03)])
    second = ahead.Mark(CUDA)
    reports.add(steps[0], first, second, error)
    third = ahead.Mark(CUDA)
    reports.add(steps[1], second, third, None)
    card.pass_on(3)
    reports.write()
    assert steps[0].seconds == 0 and steps[0].error is None
    card.pass_on(1)
    reports.write()
    assert steps[0].seconds == 3.0 and steps[0].error == pytest.approx(3.0) and steps[1].seconds == 0 and card.waited == 0
    reports.write(every=True)
    assert steps[1].seconds == 1.0 and steps[1].error is None and card.waited == 1


def test_marks_of_two_devices_are_told_apart_by_the_programs_time(card):
    here, there = ahead.Mark(), ahead.Mark(CUDA)
    assert 0 <= there.since(here) < 1 and card.waited == 0
