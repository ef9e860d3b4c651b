"""Whose cache is whose: one for each group of conditionings that are computed together.

A host computes the same conditionings together at one step and apart at the next, as its memory allows; what is kept of them is
divided and joined as they are, so that nothing is lost.
"""

from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any

from .memory import Need


@dataclass(frozen=True)
class Conditioning:
    """One of those that a call computes together.

    name     tells it from the others of its run
    state    whatever it brings into the model that may change on the way; once it does, nothing kept for it holds any more
    """
    name: Hashable = ""
    state: Hashable = ()


@dataclass
class Entry:
    """A cache and what it takes at most."""
    cache: Any
    need: Need


Member = Hashable               # a conditioning of calls of one model, device, dtype and size, and its how-manieth in an evaluation
Group = tuple[Member, ...]


class Caches:
    """The caches of one run.

    states       of every member at its last call
    last_used    the evaluation of that call
    groups       that each member of this evaluation was computed in; before: of the last evaluation
    parted       whether some were regrouped earlier
    """

    def __init__(self):
        self.entries: dict[Group, Entry] = {}
        self.states: dict[Member, Hashable] = {}
        self.last_used: dict[Member, int] = {}
        self.ordinals: Counter[Hashable] = Counter()
        self.groups: dict[Member, Group] = {}
        self.before: dict[Member, Group] = {}
        self.parted = False

    @property
    def regrouped(self) -> bool:
        """Whether conditionings that were computed together at one step were computed apart at the next, or the other way round; where
        one leaves or comes, the others may stay together."""
        here, before = self.groups, self.before
        return self.parted or any({one for one in before[member] if one in here} != {one for one in group if one in before}
                                  for member, group in here.items() if member in before)

    def begin(self, evaluation: int):
        """An evaluation begins: what had no part in the last one has left the run and frees its memory."""
        self.parted = self.regrouped
        self.before, self.groups = self.groups, {}
        self.ordinals.clear()
        for group in [group for group in self.entries if self.last_used[group[0]] < evaluation - 1]:
            self.drop(group)
        for member in [member for member, used in self.last_used.items() if used < evaluation - 1]:
            del self.last_used[member], self.states[member]

    def members(self, agreed: Hashable, conditionings: Iterable[Conditioning], evaluation: int) -> tuple[Group, bool]:
        """-> (the group of a call's conditionings, whether what one of them brings has changed).

        agreed: what else tells its caches apart.
        """
        group, changed = [], False
        for conditioning in conditionings:
            named = (agreed, conditioning.name)
            self.ordinals[named] += 1
            member = *named, self.ordinals[named]
            changed |= member in self.states and self.states[member] != conditioning.state
            self.states[member], self.last_used[member] = conditioning.state, evaluation
            group.append(member)
        self.groups.update(dict.fromkeys(group, tuple(group)))
        return tuple(group), changed

    def find(self, group: Group) -> Any:
        """The group's cache, made of others' where these hold its members; None where one is not known."""
        if group not in self.entries and not self.regroup(group):
            return None
        return self.entries[group].cache

    def regroup(self, group: Group) -> bool:
        """Join the caches of all the members, where each has one."""
        self.divide(group)
        if any((member,) not in self.entries for member in group):
            return False
        parts = [self.entries[(member,)] for member in group]
        joined = type(parts[0].cache).joined([part.cache for part in parts]) if len(parts) > 1 else parts[0].cache
        if joined is None:
            return False
        for member in group:
            del self.entries[(member,)]
        self.entries[group] = Entry(joined, sum((part.need for part in parts), start=Need()))
        return True

    def divide(self, group: Group):
        """A cache of its own for everybody who shares one with a member of the group."""
        for held in [held for held in self.entries if len(held) > 1 and not set(held).isdisjoint(group)]:
            entry = self.entries.pop(held)
            for member, part in zip(held, entry.cache.divided(len(held)), strict=True):
                self.entries[(member,)] = Entry(part, entry.need * (1 / len(held)))

    def put(self, group: Group, cache, need: Need):
        self.entries[group] = Entry(cache, need)

    def drop(self, group: Group):
        self.entries.pop(group, None)

    def drop_members(self, group: Group):
        """Whatever is kept of a group's members, and of nobody else."""
        self.divide(group)
        for member in group:
            self.drop((member,))

    def clear(self):
        self.entries.clear()

    @property
    def needs(self) -> Need:
        """What all of them take at most."""
        return sum((entry.need for entry in self.entries.values()), start=Need())

    @property
    def bytes(self) -> int:
        return sum(entry.cache.bytes for entry in self.entries.values())
