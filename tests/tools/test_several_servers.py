"""Two servers with one user folder between them: what is saved on one is there on the other, and gives the same picture."""

import json
import urllib.request

import numpy as np
import pytest

from tools.prompts import demo_prompt
from tools.server import ComfyServer

from .test_server_faults import picture

PRESET = "shared 预设"
WIDGETS = {"preset": "custom", "level": "stack", "cycle": 4, "order": 1}


def asked(server, body: dict) -> dict:
    request = urllib.request.Request(f"{server.url}/toca/presets", json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)


def offered(server) -> list[str]:
    return server.client().object_info()["ToCaCache"]["input"]["optional"]["preset"][1]["options"]


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    shared = tmp_path_factory.mktemp("user")
    arguments = ["--user-directory", str(shared)]
    with ComfyServer(arguments=arguments) as first, ComfyServer(arguments=arguments) as second:
        yield first, second, shared


def test_a_preset_travels_through_the_folder(servers):
    first, second, shared = servers
    assert asked(first, {"action": "save", "name": PRESET, "widgets": WIDGETS})["name"] == PRESET
    assert (shared / "toca" / "presets" / f"{PRESET}.json").is_file()
    assert PRESET in offered(second)
    made = [picture(server.client(), demo_prompt(seed=1, preset=PRESET)) for server in (first, second)]
    by_hand = picture(second.client(), demo_prompt(seed=1, prefix="by hand", **WIDGETS))
    assert np.array_equal(*made) and np.array_equal(made[0], by_hand)


def test_it_is_saved_anew_and_deleted_for_both(servers):
    first, second, _ = servers
    asked(first, {"action": "save", "name": PRESET, "widgets": WIDGETS})
    before = picture(second.client(), demo_prompt(seed=2, preset=PRESET))
    changed = {**WIDGETS, "cycle": 8}
    assert asked(first, {"action": "save", "name": PRESET, "widgets": changed})["presets"][PRESET]["cycle"] == 8
    after = picture(second.client(), demo_prompt(seed=2, preset=PRESET))
    assert not np.array_equal(after, before)
    assert np.array_equal(after, picture(second.client(), demo_prompt(seed=2, prefix="by hand", **changed)))
    assert PRESET not in asked(second, {"action": "delete", "name": PRESET})["presets"] and PRESET not in offered(first)
