"""What all tests share.

Markers: smoke - the tests that must pass on every supported version of the host (python run.py test --host VERSION runs these).
"""

import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).absolute().parent.parent

# The project comes last on the path, or its nodes/ would hide the host's nodes.py.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").absolute() != PROJECT] + [str(PROJECT)]


def pytest_configure(config):
    config.addinivalue_line("markers", "smoke: must pass on every supported version of the host")


@pytest.fixture(scope="session")
def server():
    """ComfyUI with only this pack loaded, started once for all tests that ask for it."""
    from tools.server import ComfyServer

    with ComfyServer(PROJECT) as server:
        yield server


@pytest.fixture
def client(server):
    return server.client()
