"""The pack inside a Python process that has the host on its path, loaded under a name of its own as the host does."""

import importlib
import importlib.util
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NAME = "toca_pack"


def load_host(cpu: bool = True, float32: bool = False):
    """Make the host's modules importable. `cpu` and `float32` are what `--cpu` and `--fp32-unet` are on its command line; ignored once it
    is imported."""
    host = os.environ["COMFYUI_PATH"]
    if host not in sys.path:
        sys.path.insert(0, host)
    import comfy.options
    if "comfy.cli_args" not in sys.modules:
        comfy.options.enable_args_parsing(False)
        import comfy.cli_args
        comfy.cli_args.args.cpu, comfy.cli_args.args.fp32_unet = cpu, float32


def pack_module(path: str):
    """A module of the pack, such as `nodes.host.seam`."""
    if NAME not in sys.modules:
        spec = importlib.util.spec_from_file_location(NAME, ROOT / "__init__.py", submodule_search_locations=[str(ROOT)])
        sys.modules[NAME] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[NAME])
    return importlib.import_module(f"{NAME}.{path}")
