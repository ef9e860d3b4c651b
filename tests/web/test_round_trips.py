"""Workflows that leave the page and come back: older versions, pictures that hold one, the API's form; and runs of another browser."""

import json
import subprocess

import pytest

from tests.web.test_cache_widgets import CACHE
from tests.web.test_workflows import SET_SAMPLERS, browser_prompt, load
from tools.browser import RUN
from tools.server import PROJECT

OUR_VALUES = """() => Object.fromEntries(app.graph.serialize().nodes.filter(({ type }) => type.startsWith("ToCa"))
    .map(({ id, widgets_values }) => [id, widgets_values ?? []]))"""


def earlier_versions() -> list[tuple[str, dict]]:
    """[(file, workflow)] of all that the repository's history holds, each content once."""
    def git(*arguments) -> str:
        return subprocess.run(["git", *arguments], cwd=PROJECT, capture_output=True, text=True, check=True).stdout

    try:
        lines = git("log", "--format=", "--raw", "--no-abbrev", "--", "workflows/*.json").splitlines()
    except (OSError, subprocess.CalledProcessError):
        return []                                                       # an archive, or no git
    blobs = {blob: file for line in lines if line for *_, blob, _, file in [line.split()] if set(blob) != {"0"}}
    return [(f"{file} of {blob[:9]}", json.loads(git("cat-file", "blob", blob))) for blob, file in blobs.items()]


def test_every_earlier_version_of_every_workflow_opens_with_its_settings(open_page):
    page = open_page("canvas")
    versions = earlier_versions()
    if not versions:
        pytest.skip("no history here")
    for name, workflow in versions:
        page.evaluate("(workflow) => app.loadGraphData(workflow)", workflow)
        ours = {str(node["id"]): node.get("widgets_values") or [] for node in workflow["nodes"] if node["type"].startswith("ToCa")}
        opened = page.evaluate(OUR_VALUES)
        assert {node: opened[node][:len(values)] for node, values in ours.items()} == ours, name
        assert page.evaluate("() => app.graph.nodes.filter((node) => !LiteGraph.registered_node_types[node.type]).length") == 0, name
        assert page.complaints == [], name


def test_a_picture_brings_its_workflow_and_an_api_file_its_settings(open_page, client):
    page = open_page("canvas")
    load(page, "demo_auto")
    page.evaluate(SET_SAMPLERS, {"steps": 4, "seed": 881})
    page.evaluate(f"() => {{ {CACHE}.widgets.find(({{ name }}) => name === 'tolerance').value = 0.37; }}")
    prompt, values = browser_prompt(page), page.evaluate(OUR_VALUES)
    outputs = page.evaluate(RUN, 300_000)["outputs"]
    [image] = [output["images"][0] for output in outputs.values() if output.get("images")]
    load(page, "demo_baseline")
    page.evaluate("""async ({ filename, subfolder, type }) => {
        const picture = await app.api.fetchApi(`/view?${new URLSearchParams({ filename, subfolder, type })}`);
        await app.handleFile(new File([await picture.blob()], filename, { type: "image/png" }));
    }""", image)
    page.wait_for_function(f"() => {CACHE}")
    assert browser_prompt(page) == prompt and page.evaluate(OUR_VALUES) == values
    load(page, "demo_baseline")
    page.evaluate("(prompt) => app.loadApiJson(prompt, 'from the API')", prompt)
    page.wait_for_function(f"() => {CACHE}")
    assert browser_prompt(page) == prompt
    assert client.run(prompt).error is None
    assert page.complaints == []


@pytest.mark.parametrize("renderer", ["canvas", "vue"])
def test_another_browsers_run_of_the_same_workflow_never_shows(open_page, renderer):
    mine, other = (open_page(renderer, own=True) for _ in range(2))
    for page in (mine, other):
        load(page, "demo_ratios")
    chart = "() => document.querySelector('.toca-ratios:not([hidden])')?.innerText"
    mine.wait_for_function(f"() => ({chart})()?.includes('of 8')")
    words = "() => document.querySelector('.toca-live').innerText"
    before = mine.evaluate(words)
    other.evaluate(SET_SAMPLERS, {"steps": 4, "seed": 771 + len(renderer)})
    other.evaluate(RUN, 300_000)
    other.wait_for_function("() => document.querySelector('.toca-live').querySelectorAll('rect').length === 4")
    mine.wait_for_timeout(500)
    assert mine.evaluate(words) == before
    assert mine.evaluate("() => document.querySelector('.toca-live').querySelectorAll('rect').length") == 0
    assert mine.complaints == other.complaints == []
