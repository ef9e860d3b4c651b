"""Levels of caching by name: each says what is full, what is kept, and how a call is answered (`base.Level`)."""

from .module import ModuleLevel
from .output import OutputLevel
from .stack import StackLevel

LEVELS = {"module": ModuleLevel, "stack": StackLevel, "output": OutputLevel}
