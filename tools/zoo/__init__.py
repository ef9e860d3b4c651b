"""Tiny random models of the host's own diffusion classes, one file per kind."""

import importlib
import pkgutil


def builders() -> dict:
    """Every `building.Builder` by its name; the host's modules are imported."""
    from .building import BUILDERS
    for file in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{file.name}")
    return dict(BUILDERS)
