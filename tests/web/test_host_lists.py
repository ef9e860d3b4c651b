"""What the host says of this pack's panels in lists and pages of its own: the promotion list of a subgraph, the side panel, apps.

Each test has a page of its own, since what it opens stays open.
"""

import pytest

from tests.web.test_cache_widgets import CACHE
from tests.web.test_workflows import load
from tools.browser import RUN

INTO_SUBGRAPH = """async (types) => {
    const inner = app.graph.nodes.filter(({ type }) => types.includes(type));
    app.canvas.selectItems(inner);
    const { node } = app.graph.convertToSubgraph(new Set(inner));
    await new Promise((resolve) => setTimeout(resolve, 500));
    app.canvas.deselectAll();
    app.canvas.selectItems([node]);
    await new Promise((resolve) => setTimeout(resolve, 500));
    await app.extensionManager.command.execute("Comfy.Graph.EditSubgraphWidgets");
}"""
SHOWN = "() => document.body.innerText.toLowerCase().split('\\n').map((line) => line.trim())"
LIVE = "[...document.querySelectorAll('.toca-live')].find((panel) => panel.checkVisibility())"


@pytest.mark.parametrize("renderer", ["canvas", "vue"])
@pytest.mark.parametrize(("workflow", "types", "names"), [
    ("demo_ratios", ["ToCaCache", "ToCaRatios"], {"last run", "ratios by block", "likeness"}),
    ("demo_report", ["ToCaReport"], {"report"}), ("demo_compare", ["ToCaCompare"], {"comparison"})])
def test_what_can_be_promoted_has_names_that_can_be_read(open_page, renderer, workflow, types, names):
    page = open_page(renderer, own=True)
    load(page, workflow)
    page.evaluate(INTO_SUBGRAPH, types)
    page.wait_for_function(f"(names) => names.every((name) => ({SHOWN})().includes(name))", arg=sorted(names))
    assert not [line for line in page.evaluate(SHOWN) if "toca_" in line]


@pytest.mark.parametrize("renderer", ["canvas", "vue"])
def test_the_side_panel_has_a_nodes_settings_and_no_panel(open_page, renderer):
    page = open_page(renderer, own=True, **{"Comfy.RightSidePanel.IsOpen": True})
    load(page, "demo_auto")
    page.evaluate(f"() => {{ app.canvas.deselectAll(); app.canvas.selectItems([{CACHE}]); }}")
    page.wait_for_timeout(1500)
    shown = page.evaluate(SHOWN)
    assert "preset" in shown and not [line for line in shown if "toca_" in line or line == "last run"]


def test_in_an_app_the_panel_shows_the_run(open_page):
    page = open_page("vue", own=True)
    workflow = load(page, "demo_auto")
    ids = {node["type"]: node["id"] for node in workflow["nodes"]}
    workflow["extra"] = {"linearMode": True, "linearData": {
        "inputs": [[ids["ToCaCache"], "last run"], [ids["KSampler"], "steps"]], "outputs": [ids["SaveImage"]]}}
    page.evaluate("(workflow) => app.loadGraphData(workflow, true, true, 'an app')", workflow)
    page.wait_for_function(f"() => {LIVE} && !{LIVE}.closest('[data-node-id]')")
    assert page.evaluate(f"() => {LIVE}.innerText.trim().split('\\n')") == ["Presets", "Shows each step while sampling."]
    page.evaluate("""() => {
        const { widgets } = app.graph.nodes.find(({ type }) => type === "KSampler");
        for (const [name, value] of [["steps", 12], ["seed", 4711]]) widgets.find((widget) => widget.name === name).value = value;
    }""")
    page.evaluate(RUN, 300_000)
    page.wait_for_function(f"() => {LIVE}.querySelectorAll('rect').length === 12")
    said = page.evaluate(SHOWN)
    assert "last run" in said and any("computed" in line for line in said) and not [line for line in said if "toca_" in line]
    assert page.complaints == []
