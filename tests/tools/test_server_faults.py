"""The real server, stopped in mid run in every way, and with the host's ways to keep less: the next run is right."""

import io
import signal

import numpy as np
import pytest
from PIL import Image

from tools.prompts import demo_prompt
from tools.server import ComfyServer

CACHED = {"preset": "custom", "level": "stack", "cycle": 3}


def pixels(client, result) -> np.ndarray:
    assert result.error is None, result.error
    [image] = result.outputs["save"]["images"]
    return np.asarray(Image.open(io.BytesIO(client.image(**image))))


def picture(client, prompt) -> np.ndarray:
    return pixels(client, client.run(prompt))


@pytest.fixture(scope="module")
def expected(server):
    """What a server that nothing happened to gives."""
    return picture(server.client(), demo_prompt(seed=1, **CACHED))


def in_mid_run(event) -> bool:
    return event.type == "progress" and event.data["node"] == "sample" and event.data["value"] >= 5


def test_an_interrupt(client, expected):
    stopped = client.run(demo_prompt(seed=2, steps=200, **CACHED), on_event=lambda event: client.interrupt() if in_mid_run(event) else None)
    assert stopped.error == "interrupted in KSampler (node sample)"
    [report] = stopped.of_type("toca.report")
    assert "Stopped early by InterruptProcessingException" in report["note"] and len(report["steps"]) < 200
    again = client.run(demo_prompt(seed=1, prefix="again", **CACHED))
    assert np.array_equal(pixels(client, again), expected)


def test_hosts_that_keep_less_and_one_of_them_killed_in_mid_run(expected, tmp_path):
    """Started again on the same folder, with another way to keep less."""
    folder = tmp_path / "server"
    with ComfyServer(folder=folder, arguments=["--cache-lru", "1"]) as server:
        assert_runs_repeat(client := server.client(), expected)

        def kill(event):
            if in_mid_run(event):
                server.process.send_signal(signal.SIGKILL)
        with pytest.raises(Exception, match="closed the connection|Cannot write|Server disconnected|Connection"):
            client.run(demo_prompt(seed=2, steps=200, **CACHED), on_event=kill, timeout=120)
        assert server.process.wait(30) == -signal.SIGKILL
    with ComfyServer(folder=folder, arguments=["--cache-none"]) as server:
        assert_runs_repeat(server.client(), expected)


def assert_runs_repeat(client, expected):
    """Whatever the host throws away, and the report's node finds the run that came before it."""
    prompt = demo_prompt(seed=1, report=True, **CACHED)
    for index in range(2):
        prompt["save"]["inputs"]["filename_prefix"] = f"run{index}"     # or the host would have nothing to do
        assert np.array_equal(picture(client, prompt), expected)
    other = client.run(demo_prompt(seed=3, report=True, **CACHED))
    assert not np.array_equal(pixels(client, other), expected)
    [report] = other.of_type("toca.report")
    assert report["calls"]["partial"] > 0
    assert "evaluations" in other.outputs["text"]["text"][0]
