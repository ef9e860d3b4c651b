"""The model table: one file for each system or family of systems, whatever `System` it defines is entered here.

A model is known by the full name of its diffusion-model class, since several classes are called DiT, and as text, so that a host
without one still loads the pack.
"""

import importlib
import pkgutil

from ...toca_core.families.contract import ContractError
from ...toca_core.system import System


def collected() -> dict[str, System]:
    """Every System of every file in this folder, by its name."""
    found: dict[str, System] = {}
    for file in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{file.name}")
        for system in (value for value in vars(module).values() if isinstance(value, System)):
            if found.setdefault(system.name, system) is not system:
                raise ValueError(f"Two systems are called {system.name}.")
    return found


SYSTEMS = collected()
CLASSES = {name: system for system in SYSTEMS.values() for name in system.classes}
MODULES = {site.name: site.kind for system in SYSTEMS.values() if system.layout and "module" in system.levels
           for stack in system.stacks for site in stack.sites}             # of all models whose modules are told apart


def class_of(diffusion_model) -> str:
    """The full name of a model's class."""
    kind = type(diffusion_model)
    return f"{kind.__module__}.{kind.__qualname__}"


def system_of(diffusion_model) -> System | None:
    """The entry of a model's own class; None where it has none."""
    return CLASSES.get(class_of(diffusion_model))


def bound_of(diffusion_model):
    """-> (the model's stacks, bound, or None where its blocks are not used; why its entry does not fit it, in words, or "")."""
    system = system_of(diffusion_model)
    if system is None or system.layout is None:
        return None, ""
    try:
        return system.layout.bind(diffusion_model), ""
    except ContractError as error:
        return None, f"The entry of {system.words} does not fit this version of the model ({error})"
