"""Levels of caching by name: each says what is full, what is kept, and how a call is answered (`base.Level`)."""

from .base import Level
from .module import ModuleLevel
from .output import OutputLevel
from .stack import StackLevel

LEVELS: dict[str, type[Level]] = {"module": ModuleLevel, "stack": StackLevel, "output": OutputLevel}
