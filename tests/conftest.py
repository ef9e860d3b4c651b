"""What all tests share.

Markers: smoke - the tests that must pass on every supported version of the host (python run.py test --host VERSION runs these).

Where several processes share the tests (pytest-xdist), each computes on one thread, and whatever asks for the server stays in one process:
the server and the browser are started once, and what one test leaves in them no other process sees.
"""

import os
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).absolute().parent.parent

# The project comes last on the path, or its nodes/ would hide the host's nodes.py.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").absolute() != PROJECT] + [str(PROJECT)]


if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"         # before torch is imported; the processes that tests start inherit it


# By the paths of the tests, which is all that the process that hands them out knows. (pytest-xdist's own groups need an older pytest.)
WITH_SERVER = ("tests/web/", "tests/tools/", "tests/host/test_compare.py", "tests/host/test_refusals.py", "tests/host/test_prompts.py",
               "tests/host/test_open_sora_vae.py::test_the_nodes_are_registered")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    from xdist.scheduler import LoadScopeScheduling

    class OneServer(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return "server" if nodeid.startswith(WITH_SERVER) else nodeid

    return OneServer(config, log)


def pytest_collection_modifyitems(items):
    strays = [item.nodeid for item in items if "server" in item.fixturenames and not item.nodeid.startswith(WITH_SERVER)]
    if strays:
        raise pytest.UsageError(f"These tests ask for the server, so WITH_SERVER in tests/conftest.py has to name them: {strays}")


class RootIsNoPackage:
    """Without it pytest imports the pack's `__init__.py` under the name of the clone's folder, which may be that of a module we need."""

    def pytest_collect_directory(self, path, parent):
        return pytest.Dir.from_parent(parent, path=path) if path == PROJECT else None


def pytest_configure(config):
    config.addinivalue_line("markers", "smoke: must pass on every supported version of the host")
    config.pluginmanager.register(RootIsNoPackage())


@pytest.fixture(scope="session")
def server():
    """ComfyUI with only this pack loaded, started once for all tests that ask for it."""
    from tools.server import ComfyServer

    with ComfyServer(PROJECT) as server:
        yield server


@pytest.fixture
def client(server):
    return server.client()
