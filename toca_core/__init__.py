"""Caching of diffusion transformers between sampling steps, token by token (ToCa, ICLR 2025) and beyond; free of any host.

`CachedLoop` caches a torch model in a denoising loop of one's own; a host has its own seam and uses `run.SamplingRun`.
"""

from .checks import ConfigError
from .config import ToCaConfig
from .families.tokens import TokenStack
from .loop import CachedLoop

__all__ = ["CachedLoop", "ConfigError", "ToCaConfig", "TokenStack"]
