"""What a setting may be, and the errors that say what it is not."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

SHOWN = 60              # characters of a value in an error


class ConfigError(ValueError):
    """A setting that cannot be used; the message names it, its value and the remedy."""


def shown(value, most: int = SHOWN) -> str:
    """Any value as an error shows it, on one line and not too long."""
    try:
        return cut(repr(value[:most + 1] if isinstance(value, (str, bytes)) else value), most)
    except Exception:                                               # a number of too many digits, lists in lists in lists
        return f"<{type(value).__name__} that is too large to show>"


def cut(text: str, most: int = SHOWN) -> str:
    """A name as an error shows it, on one line and not too long."""
    start = text[:most + 1]
    start = start if start.isprintable() else repr(start)[1:-1]
    return start if len(start) <= most else start[:most] + "..."


class Domain(Protocol):
    """What a setting may be. Raises ConfigError for anything else."""

    def __call__(self, name: str, value) -> None: ...


@dataclass(frozen=True)
class Number:
    """From low to high; `none`: or none at all."""
    low: float
    high: float
    whole: bool = False
    none: bool = False

    def __call__(self, name: str, value):
        if self.none and value is None:
            return
        kinds = int if self.whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds) or not self.low <= value <= self.high:
            kind = "a whole number" if self.whole else "a number"
            raise ConfigError(f"{name} is {shown(value)}; give {kind} from {self.low} to {self.high}.")


@dataclass(frozen=True)
class Choice:
    """One of these words."""
    options: Sequence[str]

    def __call__(self, name: str, value):
        if not isinstance(value, str) or value not in self.options:
            raise ConfigError(f"{name} is {shown(value)}; choose one of {', '.join(self.options)}.")


class Flag:
    """True or false."""

    def __call__(self, name: str, value):
        if not isinstance(value, bool):
            raise ConfigError(f"{name} is {shown(value)}; give true or false.")


class BlockRatios:
    """Pairs of a module's name and its ratios, one for each block."""

    def __call__(self, name: str, value):
        if not isinstance(value, (tuple, list)) or not all(map(is_line, value)):
            raise ConfigError(f"{name} is {shown(value)}; give pairs of a module's name and its ratios.")
        named: set[str] = set()
        for module, ratios in value:
            if not ratios:
                raise ConfigError(f"{name} gives no ratio for {cut(module)}; give one per block, or leave {cut(module)} out.")
            if module in named:
                raise ConfigError(f"{name} gives {cut(module)} twice; keep one line of it.")
            named.add(module)
            for block, ratio in enumerate(ratios):
                Number(0, 1)(f"{name}: {cut(module)}, block {block}", ratio)


def is_line(pair) -> bool:
    """Whether something is a module's name and a row of what may be its ratios."""
    return isinstance(pair, (tuple, list)) and len(pair) == 2 and isinstance(pair[0], str) and isinstance(pair[1], (tuple, list))
