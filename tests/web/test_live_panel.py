"""The live panel on ToCa Cache and the report's text, in the real front end, during real runs of the demo model."""

import json

import pytest

from tests.web.test_workflows import SET_SAMPLERS, load
from tools.browser import RUN

WATCH = """() => {
    window.seen = { panels: [], steps: [], reports: [], listeners: 0 };
    const text = () => [...document.querySelectorAll(".toca-live")].map((panel) => panel.innerText);
    const { signal } = testing;
    app.api.addEventListener("toca.step", ({ detail }) => { seen.steps.push(detail); seen.panels.push(text()); }, { signal });
    app.api.addEventListener("toca.report", ({ detail }) => seen.reports.push(detail), { signal });
}"""
COUNT_LISTENERS = """() => {
    window.listeners = 0;
    for (const [name, change] of [["addEventListener", 1], ["removeEventListener", -1]]) {
        const original = app.api[name];
        app.api[name] = function (type, ...rest) {
            if (type.startsWith("toca.")) window.listeners += change;
            return original.call(this, type, ...rest);
        };
    }
}"""
PANEL = """(index) => {
    const panel = document.querySelectorAll(".toca-live")[index];
    return { words: panel.innerText, bars: [...panel.querySelectorAll("rect")].map((bar) => bar.getAttribute("class")),
             dots: panel.querySelectorAll("circle").length };
}"""
SECOND_CACHE = """() => {
    const first = (type) => app.graph.nodes.find((node) => node.type === type);
    const [loader, sampler, ours] = ["ToCaLoadDiT", "KSampler", "ToCaCache"].map(first);
    const [cache, copy, shown] = ["ToCaCache", "KSampler", "PreviewAny"].map((type) => app.graph.add(LiteGraph.createNode(type)));
    for (const [index, node] of [cache, copy, shown].entries()) node.pos = [820 + 460 * index, 1300];
    cache.widgets.find(({ name }) => name === "preset").value = "paper";
    for (const [index, widget] of sampler.widgets.entries()) copy.widgets[index].value = widget.value;
    loader.connect(0, cache, 0);
    cache.connect(0, copy, 0);
    for (const input of sampler.inputs.slice(1, 4)) {
        const link = app.graph.getLink(input.link);
        app.graph.getNodeById(link.origin_id).connect(link.origin_slot, copy, input.name);
    }
    copy.connect(0, shown, 0);
    return [ours.id, cache.id];
}"""
STEPS = 10


CACHE = "app.graph.nodes.find((node) => node.type === 'ToCaCache')"
both = pytest.mark.parametrize("renderer", ["canvas", "vue"])


@pytest.fixture
def graph(renderer, open_page):
    page = open_page(renderer)
    page.evaluate(COUNT_LISTENERS)
    load(page, "demo_auto")
    page.evaluate(WATCH)
    return page


def run(page, seed, steps=STEPS):
    """A run of its own seed, or it comes from the server's cache."""
    other = page.evaluate("() => app.extensionManager.setting.get('Comfy.VueNodes.Enabled') ? 1000 : 0")
    page.evaluate(SET_SAMPLERS, {"steps": steps, "seed": seed + other})
    page.evaluate(RUN, 300_000)
    page.wait_for_timeout(300)


def kinds(report):
    return [step["kind"] for step in report["steps"]]


def assert_shows(panel, report):
    """The panel is the report, number for number."""
    assert panel["bars"] == kinds(report)
    assert panel["dots"] == sum(step["error"] is not None for step in report["steps"])
    assert f"{len(report['steps'])} steps" in panel["words"] and f"{report['flops_speedup']:.2f}x fewer FLOPs" in panel["words"]
    assert (report["note"] or f"{report['calls']['partial']} partial") in panel["words"]


@both
def test_it_moves_during_a_run_and_then_shows_the_report(graph):
    """While the node is collapsed nothing is drawn; open again, it shows what it missed."""
    assert "Shows each step" in graph.evaluate(PANEL, 0)["words"]
    run(graph, 501)
    seen = graph.evaluate("() => seen")
    [report] = seen["reports"]
    assert [step["index"] for step in seen["steps"]] == list(range(STEPS - 1))              # one message a step, the report for the last
    assert [step["kind"] for step in seen["steps"]] == kinds(report)[:-1]
    assert [step["error"] for step in seen["steps"]] == [step["error"] for step in report["steps"][:-1]]
    assert all(step[key] == report[key] for step in seen["steps"] for key in ("node", "cache", "run"))
    assert [f"{index + 1} of {STEPS}" in panels[0] for index, panels in enumerate(seen["panels"])] == [True] * (STEPS - 1)
    assert_shows(graph.evaluate(PANEL, 0), report)
    graph.evaluate(f"() => {{ window.panel = document.querySelector('.toca-live'); {CACHE}.collapse(); }}")
    graph.wait_for_timeout(300)
    run(graph, 502, steps=3)                                        # too few to skip any, which it says
    assert graph.evaluate("() => panel.querySelectorAll('rect').length") == STEPS
    graph.evaluate(f"() => {CACHE}.collapse()")
    graph.wait_for_function("() => document.querySelectorAll('.toca-live rect').length === 3")
    panel, reports = graph.evaluate(PANEL, 0), graph.evaluate("() => seen.reports")
    assert_shows(panel, reports[1])
    assert "No step could be skipped" in panel["words"] and len(panel["bars"]) == 3
    assert graph.complaints == []


@pytest.mark.parametrize("renderer", ["canvas"])
def test_two_caches_and_two_samplers_are_kept_apart(graph):
    ids = graph.evaluate(SECOND_CACHE)
    graph.wait_for_timeout(500)
    run(graph, 503)
    reports = {report["cache"]: report for report in graph.evaluate("() => seen.reports")}
    assert reports.keys() == {str(node) for node in ids} and {report["preset"] for report in reports.values()} == {"auto", "paper"}
    panels = [graph.evaluate(PANEL, index) for index in (0, 1)]
    shown = {tuple(panel["bars"]): panel for panel in panels}
    for report in reports.values():
        assert_shows(shown[tuple(kinds(report))], report)
    assert graph.complaints == []


@pytest.mark.parametrize("renderer", ["vue"])
def test_inside_a_subgraph_it_shows_that_nodes_run(graph):
    graph.evaluate("""() => {
        const cache = app.graph.nodes.find((node) => node.type === "ToCaCache");
        window.holder = app.graph.convertToSubgraph(new Set([cache])).node;
    }""")
    run(graph, 504)
    [report] = graph.evaluate("() => seen.reports")
    assert report["cache"].startswith(graph.evaluate("() => `${holder.id}:`"))
    graph.evaluate("() => app.canvas.setGraph(holder.subgraph)")
    graph.wait_for_selector(".toca-live")
    graph.wait_for_timeout(300)
    assert_shows(graph.evaluate(PANEL, 0), report)
    assert graph.complaints == []


@both
def test_it_is_in_neither_the_workflow_nor_the_prompt_and_leaves_no_listener(graph):
    saved = json.loads(graph.evaluate("() => JSON.stringify(app.graph.serialize())"))
    [cache] = [node for node in saved["nodes"] if node["type"] == "ToCaCache"]
    prompt = graph.evaluate("async () => (await app.graphToPrompt()).output")
    assert "toca_live" not in json.dumps([cache, prompt])
    watching = graph.evaluate("() => listeners")
    graph.evaluate("() => app.graph.add(LiteGraph.createNode('ToCaCache'))")
    assert graph.evaluate("() => listeners") > watching
    graph.evaluate("() => { for (const node of app.graph.nodes.filter(({ type }) => type === 'ToCaCache')) app.graph.remove(node); }")
    assert graph.evaluate("() => listeners") == 2                    # those of this test
    assert graph.evaluate("() => document.querySelectorAll('.toca-live').length") == 0
    assert graph.complaints == []
