"""What all tests share.

Markers: smoke - the tests that must pass on every supported version of the host (python run.py test --host VERSION runs these).

Where several processes share the tests (pytest-xdist), each computes on one thread. Whatever opens a page stays in one of them, with a
server and the browser of its own; whatever else asks for the server, in another one: what one test leaves in them no other process sees.
"""

import gc
import json
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
GROUPS = {
    "browser": ("tests/web/",),
    "server": ("tests/web/test_calibrate.py", "tests/web/test_demo_graph.py", "tests/web/test_model_workflows.py",
               "tests/host/test_compare.py", "tests/host/test_refusals.py", "tests/host/test_prompts.py",
               "tests/host/test_open_sora_vae.py::test_the_nodes_are_registered", "tests/tools/test_documents.py",
               "tests/tools/test_hostile_prompts.py", "tests/tools/test_interface.py", "tests/tools/test_locales.py",
               "tests/tools/test_server.py", "tests/tools/test_server_faults.py", "tests/tools/test_templates.py"),
}
BY_FILE = ("tests/demo/", "tests/tools/")            # what their tests share takes longer than they do


def group_of(nodeid: str) -> str:
    """Tests of one group run one after the other in one process."""
    for group in ("server", "browser"):
        if nodeid.startswith(GROUPS[group]):
            return group
    return nodeid.split("::")[0] if nodeid.startswith(BY_FILE) else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    from xdist.scheduler import LoadScopeScheduling

    class Groups(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return group_of(nodeid)

    return Groups(config, log)


def pytest_addoption(parser):
    parser.addoption("--quick", action="store_true", help="leave out what tests/left_out.json names (python run.py quick)")


def pytest_collection_modifyitems(config, items):
    wanting = {"browser": "open_page", "server": "server"}
    strays = [item.nodeid for item in items for group, fixture in wanting.items()
              if fixture in item.fixturenames and group_of(item.nodeid) not in (group, "browser")]
    if strays:
        raise pytest.UsageError(f"These tests ask for the server or a page, so GROUPS in tests/conftest.py has to name them: {strays}")
    if config.getoption("--quick"):
        from tools import quick_tests
        left_out = json.loads(quick_tests.FILE.read_text(encoding="utf-8"))
        others = {item for item in items if quick_tests.is_left_out(item.nodeid, left_out)}
        config.hook.pytest_deselected(items=list(others))
        items[:] = [item for item in items if item not in others]


def pytest_collection_finish():
    """What is loaded by now stays: to look for what a test has left lying about then takes a small part of the time."""
    gc.collect()
    gc.freeze()


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

    with ComfyServer(PROJECT, beside=["raylight"]) as server:
        yield server


@pytest.fixture
def client(server):
    return server.client()
