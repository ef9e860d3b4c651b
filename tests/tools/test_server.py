"""The real host, driven from outside."""

import asyncio
import os
import struct
import subprocess
import sys
import time

import pytest

from tools.server import PROJECT, ComfyServer, PromptRejected, ServerError

pytestmark = pytest.mark.smoke


def image_prompt(width=64, height=48, color=255):
    return {
        "make": {"class_type": "EmptyImage", "inputs": {"width": width, "height": height, "batch_size": 1, "color": color}},
        "show": {"class_type": "PreviewImage", "inputs": {"images": ["make", 0]}},
    }


def load_prompt(name):
    return {
        "load": {"class_type": "LoadImage", "inputs": {"image": name}},
        "show": {"class_type": "PreviewImage", "inputs": {"images": ["load", 0]}},
    }


def size_of_png(data):
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", data[16:24])


def test_the_hosts_own_nodes_are_there(client):
    assert "KSampler" in client.object_info()


def test_this_pack_is_loaded_and_no_other(server):
    log = server.log.read_text(encoding="utf-8", errors="replace")
    times = log.split("Import times for custom nodes:")[1].split("Starting server")[0]
    [line] = [line for line in times.splitlines() if "seconds" in line]
    assert line.endswith(str(server.pack)) and "IMPORT FAILED" not in line


def test_the_server_keeps_to_its_own_folder(server, client):
    [image] = client.run(image_prompt(width=40)).outputs["show"]["images"]
    assert (server.folder / "temp" / image["filename"]).is_file()
    assert (server.folder / "comfyui.db").is_file()


def test_a_prompt_is_followed_to_its_image(client):
    seen = []
    result = client.run(image_prompt(color=time.time_ns() % 0xFFFFFF), on_event=seen.append)
    assert result.error is None
    assert result.events == seen and seen[-1].type == "execution_success"
    assert result.seconds_by_node.keys() == {"make", "show"}
    assert [data["node"] for data in result.of_type("executed")] == ["show"]
    [image] = result.outputs["show"]["images"]
    assert size_of_png(client.image(**image)) == (64, 48)


def test_a_second_run_comes_from_the_cache(client):
    prompt = image_prompt(width=32)
    client.run(prompt)
    assert "make" not in client.run(prompt).seconds_by_node


def test_an_image_goes_up_and_comes_back(client, tmp_path):
    [image] = client.run(image_prompt(width=16, height=8)).outputs["show"]["images"]
    file = tmp_path / "picture of ours.png"
    file.write_bytes(client.image(**image))
    name = client.upload_image(file)
    assert client.image(name, type="input") == file.read_bytes()
    [image] = client.run(load_prompt(name)).outputs["show"]["images"]
    assert size_of_png(client.image(**image)) == (16, 8)


def test_a_bad_prompt_is_rejected_with_node_and_reason(client):
    prompt = image_prompt(width=-3)
    with pytest.raises(PromptRejected, match=r"EmptyImage \(node make\): Value -3 smaller than min"):
        client.run(prompt)
    with pytest.raises(PromptRejected, match="Prompt has no outputs"):
        client.queue({"make": prompt["make"] | {"inputs": {}}})


def test_an_error_in_a_node_is_in_the_result(client, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    result = client.run(load_prompt(client.upload_image(broken)))
    assert result.error.startswith("LoadImage (node load): ")
    assert result.events[-1].type == "execution_error"


def test_the_client_also_works_inside_a_running_event_loop(client):
    async def inside():
        return client.run(image_prompt(width=24))

    assert asyncio.run(inside()).error is None


def test_a_server_that_does_not_start_shows_its_log():
    reason = r"ended with code 2 before it answered:[\s\S]*unrecognized arguments: --no-such-flag"
    with pytest.raises(ServerError, match=reason), ComfyServer(arguments=["--no-such-flag"]):
        pass


def test_a_port_in_use_is_refused(server):
    with pytest.raises(ServerError, match=f"^Port {server.port} cannot be used"):
        ComfyServer(port=server.port)


def test_without_a_host_the_reason_is_one_sentence():
    environment = {name: value for name, value in os.environ.items() if name != "COMFYUI_PATH"}
    command = [sys.executable, "tools/server.py"]
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.strip() == "COMFYUI_PATH is not set: run this through run.py, or set it to a ComfyUI folder."
