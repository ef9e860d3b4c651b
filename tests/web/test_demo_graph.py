"""The demo workflow through the API, on every supported version of the host."""

import io
import json

import pytest
from PIL import Image

from tools.server import PROJECT
from tools.workflow import to_prompt

pytestmark = pytest.mark.smoke
STEPS = 12


def test_the_demo_workflow_gives_pictures_and_a_report(client):
    workflow = json.loads((PROJECT / "workflows" / "demo_auto.json").read_text(encoding="utf-8"))
    prompt = to_prompt(workflow, client.object_info())
    [sampler] = [node for node, content in prompt.items() if content["class_type"] == "KSampler"]
    prompt[sampler]["inputs"].update(steps=STEPS, seed=11)      # a seed of its own, or the run comes from the server's cache
    result = client.run(prompt)
    assert result.error is None
    [images] = [output["images"] for output in result.outputs.values() if "images" in output]
    assert [Image.open(io.BytesIO(client.image(**image))).size for image in images] == [(64, 64)] * 4
    [report] = result.of_type("toca.report")
    assert prompt[report["node"]]["class_type"] in ("KSampler", "ToCaCache")
    assert len(report["steps"]) == STEPS and report["calls"]["full"] and report["calls"]["partial"]
    assert 0 < report["flops"] < report["plain_flops"]


def test_reports_and_maps_come_through_the_api(client):
    """Two samplers in one graph, each with a report of its own, and no browser."""
    workflow = json.loads((PROJECT / "workflows" / "demo_report.json").read_text(encoding="utf-8"))
    prompt = to_prompt(workflow, client.object_info())
    ids = {content["class_type"]: node for node, content in prompt.items()}
    prompt[ids["KSampler"]]["inputs"].update(steps=STEPS, seed=21)
    prompt["second"] = {**prompt[ids["KSampler"]], "inputs": {**prompt[ids["KSampler"]]["inputs"], "steps": 5}}
    prompt["saved"] = {"class_type": "PreviewImage", "inputs": {"images": [ids["ToCaReport"], 3]}}
    prompt["its report"] = {"class_type": "ToCaReport", "inputs": {"model": [ids["ToCaCache"], 0], "after": ["second", 0]}}
    result = client.run(prompt)
    assert result.error is None
    texts = {node: result.outputs[node]["text"][0] for node in (ids["ToCaReport"], "its report")}
    assert [(f"node {ids['KSampler']}" in text, "node second" in text) for text in texts.values()] == [(True, False), (False, True)]
    on_node, given = (Image.open(io.BytesIO(client.image(**result.outputs[node]["images"][0]))) for node in (ids["ToCaReport"], "saved"))
    assert 150 < on_node.height < given.height - 100                # on the node the words stand above the picture, and not in it too
    reports = {report["node"]: report for report in result.of_type("toca.report")}
    for node, steps in ((ids["KSampler"], STEPS), ("second", 5)):
        seen = [step for step in result.of_type("toca.step") if step["node"] == node]
        assert [step["index"] for step in seen] == list(range(steps - 1))
        assert [step["kind"] for step in seen] == [step["kind"] for step in reports[node]["steps"]][:-1]
    pictures = [Image.open(io.BytesIO(client.image(**image))) for image in result.outputs[ids["ToCaTokenMap"]]["images"]]
    assert len(pictures) == 4 and all(picture.width == 512 < picture.height for picture in pictures)
