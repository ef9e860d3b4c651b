"""How high a node is is part of a workflow: opened again it is as high, so that undo and redo go on, and what a run shows is no edit."""

import pytest

from tests.web.settling import settle
from tests.web.test_workflows import SET_SAMPLERS, load
from tools.browser import RUN

# Caches with every preset and level, one that shows what is rare too, one with a chart that is open, one with its ratios from a node, one
# in a subgraph whose face says what counts; ToCa Calibrate with every goal; every node as it comes. A cache and a report have been made
# higher than they need be.
ALL_KINDS = """() => {
    const add = (type, values = {}, more = 0) => {
        const node = LiteGraph.createNode(type);
        node.pos = [440 * (app.graph.nodes.length % 6), 700 * Math.floor(app.graph.nodes.length / 6)];
        app.graph.add(node);
        for (const [name, value] of Object.entries(values)) {
            const widget = node.widgets.find((widget) => widget.name === name);
            widget.value = value;
            widget.callback?.(value);
        }
        if (more) node.setSize([node.size[0], node.size[1] + more]);
        return node;
    };
    app.graph.clear();
    for (const preset of ["auto", "quality", "paper"]) add("ToCaCache", { preset });
    add("ToCaCache").widgets.find(({ name }) => name === "last run").element.querySelector("button.more").click();
    for (const level of ["module", "stack", "output"]) {
        for (const tolerance of [-1, 0.3]) add("ToCaCache", { preset: "custom", level, tolerance });
    }
    const own = { preset: "custom", level: "module", block_ratios: "mlp: 0.1, 0.2", score: "random", start_percent: 0.1 };
    const charted = add("ToCaCache", own);
    charted.widgets.find(({ name }) => name === "ratios by block").element.querySelector("button.open").click();
    add("ToCaRatios", { ratios: "mlp: 0.3, 0.1" }).connect(0, add("ToCaCache", { preset: "custom", level: "module" }), "ratios");
    add("ToCaRatios").connect(0, add("ToCaCache", { preset: "custom", level: "module" }, 77), "ratios");
    for (const target of ["2x", "PSNR >= 30", "within 4 GB", "8 calls", "2x and PSNR >= 30"]) add("ToCaCalibrate", { target });
    for (const type of Object.keys(LiteGraph.registered_node_types).filter((type) => type.startsWith("ToCa"))) add(type);
    add("ToCaReport", {}, 55);
    const inner = add("ToCaCache", { preset: "auto" });
    const { subgraph, node } = app.graph.convertToSubgraph(new Set([inner]));
    const slot = inner.inputs.findIndex(({ name }) => name === "preset");
    subgraph.addInput("preset", "COMBO").connect(inner.inputs[slot], inner);
    const face = node.widgets?.find(({ name }) => name === "preset");
    if (!face) throw new Error("the subgraph shows no preset");
    face.value = "custom";
    face.callback?.("custom");
}"""
# The pack's nodes of a workflow, those in subgraphs too.
OURS = """(({ nodes, definitions }) => [...nodes, ...(definitions?.subgraphs ?? []).flatMap((subgraph) => subgraph.nodes)]
    .filter(({ type }) => type.startsWith("ToCa")))"""
SAVED = f"() => {OURS}(app.rootGraph.serialize()).map(({{ id, type, size }}) => [id, type, Math.round(size[1])])"
# What is on each: a node that is as high as before and shows less has empty space.
SHOWN = """() => app.graph.nodes.filter(({ type }) => type === "ToCaCache").map((node) =>
    node.widgets.filter((widget) => node.isWidgetVisible(widget)).map(({ name }) => name))"""
REOPEN = "() => app.loadGraphData(JSON.parse(JSON.stringify(app.rootGraph.serialize())))"
ENTER = "() => app.canvas.setGraph(app.rootGraph.nodes.find(({ subgraph }) => subgraph).subgraph)"
LEAVE = "() => app.canvas.setGraph(app.rootGraph)"
RENAME = """(title) => {
    app.graph.nodes[0].title = title;
    const { changeTracker } = app.extensionManager.workflow.activeWorkflow;
    (changeTracker.captureCanvasState ?? changeTracker.checkState).call(changeTracker);         // as a click or a key does
}"""
# The pack's nodes that the editor would find edited at the next key or click. It finds some of the host's edited by what a run shows.
EDITED = f"""() => {{
    const [known, now] = [app.extensionManager.workflow.activeWorkflow.changeTracker.activeState, app.rootGraph.serialize()].map({OURS});
    return now.filter((node, index) => JSON.stringify(node) !== JSON.stringify(known[index])).map(({{ type, size }}) => [type, ...size]);
}}"""
REPORT = "() => document.querySelector('.toca-report').textContent"


def look_around(page):
    settle(page)
    for go in (ENTER, LEAVE):
        page.evaluate(go)
        settle(page)


def go_back_and_forth(page):
    """Two edits, one back and one forth, and after each the editor finds none that it does not know of."""
    for title in ("first", "second"):
        page.evaluate(RENAME, title)
    for go, title in (("undo", "first"), ("redo", "second")):
        page.evaluate("(go) => app.extensionManager.workflow.activeWorkflow.changeTracker[go]()", go)
        settle(page)
        assert page.evaluate("() => app.graph.nodes[0].title") == title
        assert page.evaluate(EDITED) == []


@pytest.mark.parametrize("renderer", ["canvas", "vue"])
def test_nodes_are_as_high_as_before_when_opened_again_and_after_undo_and_redo(open_page, renderer):
    page = open_page(renderer)
    page.evaluate(ALL_KINDS)
    look_around(page)
    before, shown = page.evaluate(SAVED), page.evaluate(SHOWN)
    assert len(before) > 30 and any("cache_dtype" in names for names in shown)
    for _ in range(2):
        page.evaluate(REOPEN)
        look_around(page)
        assert page.evaluate(SAVED) == before and page.evaluate(SHOWN) == shown
    go_back_and_forth(page)
    assert page.evaluate(SAVED) == before and page.evaluate(SHOWN) == shown
    assert page.complaints == []


def test_what_a_report_shows_is_no_edit(open_page):
    page = open_page("canvas")                    # Vue has the host make room for its picture
    load(page, "demo_report")
    settle(page)
    page.evaluate(SET_SAMPLERS, {"steps": 4, "seed": 981})
    quiet, before = page.evaluate(REPORT), page.evaluate(SAVED)
    page.evaluate(RUN, 300_000)
    settle(page)
    text = page.evaluate(REPORT)
    assert text != quiet
    assert page.evaluate(SAVED) == before
    go_back_and_forth(page)
    assert page.evaluate(REPORT) == text
