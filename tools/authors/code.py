"""The authors' modules, imported from a checkout of their repository (Shenyi-Z/ToCa) for as long as one recording takes."""

import contextlib
import sys
import types
from pathlib import Path

from . import stand_ins


def bare(folder: Path, packages) -> dict:
    """Packages without their `__init__`, which would import what is not needed: training, downloads, text encoders."""
    made = {}
    for name in packages:
        made[name] = types.ModuleType(name)
        made[name].__path__ = [str(folder / name.replace(".", "/"))]
    return made


@contextlib.contextmanager
def importable(folder: Path, roots: tuple, contents: dict, packages=()):
    """Their folder is first on the path; their modules, which begin with `roots`, and stand-ins hide others of the same names.

    Afterwards all is as before.
    """
    if not folder.is_dir():
        raise SystemExit(f"{folder} is missing: give the folder of a checkout of the authors' repository (github.com/Shenyi-Z/ToCa).")
    present, path = dict(sys.modules), list(sys.path)
    hidden = stand_ins.modules(contents) | bare(folder, packages)
    tops = {name.split(".")[0] for name in hidden} | set(roots)
    for name in [name for name in sys.modules if name.split(".")[0] in tops]:
        del sys.modules[name]
    sys.modules.update(hidden)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path[:] = path
        for name in set(sys.modules) - set(present):
            if name.split(".")[0] in tops:
                del sys.modules[name]
        sys.modules.update(present)
