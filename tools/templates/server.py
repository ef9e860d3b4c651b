"""A server that has the stand-ins beside the pack."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.server import PROJECT, ComfyServer

STAND_INS = "toca_stand_ins"
LOADED_AS = f"""import sys
sys.path.append({str(PROJECT)!r})       # last, or the project's nodes/ would hide the host's nodes.py
from tools.templates.stand_ins import comfy_entrypoint
"""


@contextmanager
def server_with_stand_ins() -> Iterator[ComfyServer]:
    """Its folder is removed at the end."""
    with tempfile.TemporaryDirectory(prefix="toca-templates-", ignore_cleanup_errors=True) as folder:
        pack = Path(folder) / "custom_nodes" / STAND_INS
        pack.mkdir(parents=True)
        (pack / "__init__.py").write_text(LOADED_AS, encoding="utf-8")
        with ComfyServer(folder=Path(folder), arguments=["--whitelist-custom-nodes", PROJECT.name, STAND_INS]) as server:
            yield server
