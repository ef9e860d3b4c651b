"""ToCa Calibrate in a whole graph, through the API, on the demo model, whose pictures are a quarter of their usual size."""

import io
import json

import pytest
from PIL import Image

from tools.server import PromptRejected

STEPS, PRESET = 10, "of a test"


@pytest.fixture
def user(server):
    """The pack's folder among the server's user files, emptied of presets afterwards."""
    folder = server.folder / "user" / "toca"
    yield folder
    for file in (folder / "presets").glob("*.json"):
        file.unlink()


def graph(target="1.5x", first_seed=0, **changes) -> dict:
    """Two pictures of the demo model, calibrated and then sampled."""
    sampling = {"steps": STEPS, "cfg": 3.0, "sampler_name": "euler", "scheduler": "normal"}
    asked = {"model": ["load", 0], "positive": ["class", 0], "negative": ["class", 1]}
    return {
        "load": {"class_type": "ToCaLoadDiT", "inputs": {
            "model_name": "shapes_dit.safetensors", "weight_dtype": "default", "num_heads": 0}},
        "class": {"class_type": "ToCaDiTClass", "inputs": {"model": ["load", 0], "label": "red circle, blue square"}},
        "latent": {"class_type": "EmptyLatentImage", "inputs": {"width": 32, "height": 32, "batch_size": 2}},
        "vae": {"class_type": "VAELoader", "inputs": {"vae_name": "pixel_space"}},
        "calibrate": {"class_type": "ToCaCalibrate", "inputs": {
            **asked, **sampling, "latent": ["latent", 0], "vae": ["vae", 0], "target": target, "first_seed": first_seed, "effort": 1,
            "save_as": "", "sensitivity": False, **changes}},
        "sample": {"class_type": "KSampler", "inputs": {
            **asked, **sampling, "model": ["calibrate", 0], "latent_image": ["latent", 0], "seed": 77 + first_seed, "denoise": 1.0}},
        "decode": {"class_type": "VAEDecode", "inputs": {"samples": ["sample", 0], "vae": ["vae", 0]}},
        "picture": {"class_type": "PreviewImage", "inputs": {"images": ["decode", 0]}},
        "curve": {"class_type": "PreviewImage", "inputs": {"images": ["calibrate", 4]}},
        "text": {"class_type": "PreviewAny", "inputs": {"source": ["calibrate", 5]}}}


def test_a_target_becomes_a_cached_model_a_curve_and_words(client, user):
    result = client.run(graph(sensitivity=True))
    assert result.error is None
    [words] = result.outputs["text"]["text"]
    assert words.startswith("Target 1.5x, 10 steps of euler, normal: tolerance") and "mlp: 0." in words
    [curve] = result.outputs["curve"]["images"]
    assert Image.open(io.BytesIO(client.image(**curve))).size == (820, 1480)
    [report] = result.of_type("toca.report")                        # the calibration's own runs say nothing
    assert report["preset"] == "auto" and f"tolerance {report['settings']['tolerance']:g}." in words
    done = [data for data in result.of_type("progress") if data["node"] == "calibrate"]
    assert len(done) > 10 and done[-1]["value"] <= done[-1]["max"]


def test_a_second_time_it_is_remembered(client, user):
    first = client.run(graph(first_seed=1))
    file = max((user / "calibrations").glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
    written = file.stat().st_mtime_ns
    again = client.run(graph(first_seed=1, save_as=PRESET))         # another input, so that the host runs the node again
    assert "calibrate" in again.seconds_by_node and file.stat().st_mtime_ns == written
    words, other = (result.outputs["text"]["text"][0] for result in (first, again))
    assert other == f"{words}\nSaved as preset {PRESET} of ToCa Cache."
    assert not [data for data in again.of_type("progress") if data["node"] == "calibrate"]


def test_a_saved_preset_is_listed_and_used(client, user):
    name = f"{PRESET} too"                                          # another input than before, so that the host runs the node again
    assert client.run(graph(first_seed=1, save_as=name)).error is None
    specification = client.object_info()["ToCaCache"]["input"]["optional"]["preset"]
    assert specification[1]["options"][-1] == name
    prompt = graph(first_seed=2)
    prompt["calibrate"] = {"class_type": "ToCaCache", "inputs": {"model": ["load", 0], "preset": name}}
    del prompt["curve"], prompt["text"]
    result = client.run(prompt)
    [report] = result.of_type("toca.report")
    saved = json.loads((user / "presets" / f"{name}.json").read_text())
    assert result.error is None and report["preset"] == name and report["settings"]["tolerance"] == saved["tolerance"]
    (user / "presets" / f"{name}.json").unlink()
    with pytest.raises(PromptRejected, match=f"preset is '{name}', of which this machine has no file"):
        client.run(prompt)


def test_it_can_be_interrupted(client, user):
    before = set((user / "calibrations").glob("*.json"))
    stopped = client.run(graph(first_seed=3, effort=8), on_event=lambda event: client.interrupt()
                         if event.type == "progress" and event.data["node"] == "calibrate" else None)
    assert stopped.error == "interrupted in ToCaCalibrate (node calibrate)"
    assert set((user / "calibrations").glob("*.json")) == before


@pytest.mark.parametrize("target, words", [("fast", "write a speed such as 2.5x"), ("9x", "of 10 steps at least")])
def test_what_cannot_be_is_said_before_sampling(client, target, words):
    result = client.run(graph(target))
    assert words in result.error and not [data for data in result.of_type("progress") if data["node"] == "calibrate"]


def test_a_number_of_calls_is_a_target_too(client, user):
    result = client.run(graph("5 calls", first_seed=3))
    assert result.error is None and result.outputs["text"]["text"][0].startswith("Target 5 calls, 10 steps of euler")
    assert "heun may ask the model more than once a step; give a speed" in client.run(graph("5 calls", sampler_name="heun")).error
