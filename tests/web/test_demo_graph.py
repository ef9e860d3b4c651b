"""The demo workflow through the API, on every supported version of the host."""

import io
import json

import pytest
from PIL import Image

from tools.server import PROJECT
from tools.workflow import to_prompt

pytestmark = pytest.mark.smoke
STEPS = 20


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
