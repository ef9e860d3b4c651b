"""Levels of caching by name: each says what is full, what is kept, and how a call is answered (`base.Level`)."""

from .base import Level
from .module import ModuleLevel
from .output import OutputLevel
from .stack import StackLevel

LEVELS: dict[str, type[Level]] = {"module": ModuleLevel, "stack": StackLevel, "output": OutputLevel}


def why(level: str, known: bool, preset: str) -> str:
    """Why a run has this level, in words; known: whether the model's blocks are."""
    if level == "module":
        return "each attention and MLP is known"
    if level == "stack":
        return "its blocks are known" if known else "its blocks are looked for in its first call"
    if not known:
        return "its blocks are not known, or no one residual stands for them"
    return "it keeps closer than level stack" if preset in ("auto", "quality") else "it was chosen, or memory was short"
