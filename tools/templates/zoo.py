"""Every tiny model that a module of `tools.zoo` enters, by name."""

import importlib
import pkgutil

import tools.zoo
from tools.zoo.building import BUILDERS

for module in pkgutil.iter_modules(tools.zoo.__path__):
    importlib.import_module(f"tools.zoo.{module.name}")

__all__ = ["BUILDERS"]
