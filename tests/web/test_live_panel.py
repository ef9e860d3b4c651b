"""The live panel on ToCa Cache and the report's text, in the real front end, during real runs of the demo model."""

import json

import pytest

from tests.web.settling import settle, until
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
    const words = [...panel.querySelectorAll('.words, .kind')].map((part) => part.textContent).join('\\n');
    return { words, bars: [...panel.querySelectorAll("rect")].map((bar) => bar.getAttribute("class")),
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
    settle(page)


def kinds(report):
    return [step["kind"] for step in report["steps"]]


def assert_shows(panel, report):
    """The panel is the report, bar for bar, and begins with the time."""
    assert panel["bars"] == kinds(report)
    assert panel["dots"] == sum(step["error"] is not None for step in report["steps"])
    words = panel["words"].split("\n")
    assert any(" s instead of about " in line or f" s for {len(report['steps'])} steps" in line for line in words)
    name = "partly computed" if report["settings"]["level"] == "module" else "forecast"
    for kind, told in (("full", "computed"), ("partial", name)):
        assert report["calls"][kind] == 0 or f"{report['calls'][kind]} {told}" in words


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
    assert all(step[key] == report[key] for step in seen["steps"] for key in ("node", "cache", "run", "prompt", "workflow"))
    assert report["prompt"] and report["workflow"] == graph.evaluate("() => app.graph.id")
    assert [len(step["steps"]) for step in seen["steps"]] == list(range(1, STEPS))          # each tells the run so far
    assert [f"{index + 1} of {STEPS}" in panels[0] for index, panels in enumerate(seen["panels"])] == [True] * (STEPS - 1)
    assert_shows(graph.evaluate(PANEL, 0), report)
    graph.evaluate(f"() => {{ window.panel = document.querySelector('.toca-live'); {CACHE}.collapse(); }}")
    settle(graph)
    run(graph, 502, steps=3)                                        # too few to skip any, which it says
    assert graph.evaluate("() => panel.querySelectorAll('rect').length") == STEPS
    graph.evaluate(f"() => {CACHE}.collapse()")
    graph.wait_for_function("() => document.querySelectorAll('.toca-live rect').length === 3")
    panel, reports = graph.evaluate(PANEL, 0), graph.evaluate("() => seen.reports")
    assert_shows(panel, reports[1])
    assert "Nothing was skipped: the first" in panel["words"] and "save time." in panel["words"] and len(panel["bars"]) == 3
    assert graph.complaints == []


def words(page):
    settle(page)
    return page.evaluate(PANEL, 0)["words"]


def queue(page, seed, steps=STEPS, pictures=1):
    page.evaluate(SET_SAMPLERS, {"steps": steps, "seed": seed, "batch_size": pictures})
    page.evaluate("() => app.queuePrompt(0, 1)")


def idle(page):
    until(page, "async () => { const queue = await (await fetch('/queue')).json();"
                " return !queue.queue_running.length && !queue.queue_pending.length }", seconds=120)


@pytest.mark.parametrize("renderer", ["vue"])
def test_it_says_so_where_the_last_prompt_sampled_nothing_with_it(graph):
    """In place of the bars of the run before."""
    run(graph, 511, steps=4)
    assert graph.evaluate(PANEL, 0)["bars"]
    run(graph, 511, steps=4)
    assert "came from ComfyUI's cache" in words(graph) and not graph.evaluate(PANEL, 0)["bars"]
    def widget(name):
        return f"{CACHE}.widgets.find((widget) => widget.name === '{name}')"
    for change, back, seed, told in [
        (f"{CACHE}.mode = 4", f"{CACHE}.mode = 0", 512, "bypassed"),
        (f"{widget('enable')}.value = false", f"{widget('enable')}.value = true", 513, "Switched off"),
    ]:
        graph.evaluate(f"() => {{ {change}; }}")
        run(graph, seed, steps=4)
        assert told in words(graph) and not graph.evaluate(PANEL, 0)["bars"]
        graph.evaluate(f"() => {{ {back}; }}")
    graph.evaluate(f"() => {{ {widget('preset')}.value = 'custom'; {widget('block_ratios')}.value = 'mlp: 7'; }}")
    queue(graph, 514, steps=4)
    graph.wait_for_function("() => document.querySelector('.toca-live').innerText.includes('block 0 is 7')")
    assert not graph.evaluate(PANEL, 0)["bars"]


@both
def test_another_workflows_run_never_shows(graph, renderer):
    """Not even that of the same file in another tab, and each has its own again when it is open again; Report and Compare keep theirs."""
    load(graph, "demo_report")
    queue(graph, 521 + len(renderer), pictures=4)                  # which takes long enough to go elsewhere
    graph.wait_for_function("() => document.querySelector('.toca-live').innerText.includes('Step 2')", timeout=60_000)
    load(graph, "demo_report")
    graph.wait_for_function("() => document.querySelector('.toca-live').innerText.includes('Shows each step')", timeout=60_000)
    idle(graph)
    told = "() => document.querySelector('.toca-report')?.innerText"
    graph.wait_for_function(f"() => ({told})()?.includes('Reads here')", timeout=60_000)       # the host says late which workflow is open
    assert "Shows each step" in words(graph)
    graph.evaluate("() => app.extensionManager.command.execute('Workspace.PreviousOpenedWorkflow')")
    graph.wait_for_function("() => document.querySelector('.toca-live')?.innerText.includes(' s')", timeout=60_000)
    assert len(graph.evaluate(PANEL, 0)["bars"]) == STEPS
    graph.wait_for_function(f"() => ({told})()?.includes('{STEPS} evaluations')", timeout=60_000)
    run(graph, 531 + len(renderer), steps=4)
    graph.wait_for_function(f"() => ({told})()?.includes('4 evaluations')", timeout=60_000)
    before = graph.evaluate(told)
    graph.evaluate("() => app.extensionManager.command.execute('Workspace.NextOpenedWorkflow')")
    graph.wait_for_function(f"() => ({told})()?.includes('Reads here')", timeout=60_000)
    graph.evaluate("() => app.extensionManager.command.execute('Workspace.PreviousOpenedWorkflow')")
    graph.wait_for_function(f"(before) => ({told})() === before", arg=before, timeout=60_000)


def test_a_reload_in_mid_run_shows_the_run_so_far(open_page):
    page = open_page("canvas", own=True)
    load(page, "demo_auto")
    queue(page, 541, steps=400, pictures=4)                          # not over before the page is there again
    page.wait_for_function("() => document.querySelector('.toca-live').innerText.includes('Step 6')", timeout=60_000)
    page.wait_for_timeout(3000)                                     # the host keeps drafts of its workflows, after a while
    page.reload()
    page.wait_for_function("() => document.querySelector('.toca-live')?.innerText.includes(' of 400')", timeout=60_000)
    shown = page.evaluate(PANEL, 0)["bars"]
    assert len(shown) == 400 and sum(kind != "ahead" for kind in shown) >= 6
    page.wait_for_function("() => /instead of|no time saved/.test(document.querySelector('.toca-live').innerText)", timeout=300_000)
    shown = page.evaluate(PANEL, 0)["bars"]
    assert len(shown) == 400 and "ahead" not in shown
    page.reload()
    page.wait_for_function("() => /instead of|no time saved/.test(document.querySelector('.toca-live')?.innerText)", timeout=60_000)
    assert page.evaluate(PANEL, 0)["bars"] == shown


@pytest.mark.parametrize("renderer", ["vue"])
def test_of_three_prompts_in_the_queue_it_shows_the_one_that_runs(graph):
    for index in range(3):
        queue(graph, 551 + index, steps=3 + index)
    idle(graph)
    graph.wait_for_function("() => seen.reports.length === 3")
    assert graph.evaluate(PANEL, 0)["bars"] == kinds(graph.evaluate("() => seen.reports[2]"))
    assert [len(report["steps"]) for report in graph.evaluate("() => seen.reports")] == [3, 4, 5]


@pytest.mark.parametrize("renderer", ["canvas"])
def test_two_caches_and_two_samplers_are_kept_apart(graph):
    ids = graph.evaluate(SECOND_CACHE)
    settle(graph)
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
    settle(graph)
    assert_shows(graph.evaluate(PANEL, 0), report)
    assert graph.complaints == []


@both
def test_it_is_in_neither_the_workflow_nor_the_prompt_and_leaves_no_listener(graph):
    saved = json.loads(graph.evaluate("() => JSON.stringify(app.graph.serialize())"))
    [cache] = [node for node in saved["nodes"] if node["type"] == "ToCaCache"]
    prompt = graph.evaluate("async () => (await app.graphToPrompt()).output")
    assert "last run" not in json.dumps([cache, prompt])
    watching = graph.evaluate("() => listeners")
    graph.evaluate("() => { app.graph.add(LiteGraph.createNode('ToCaCache')); }")
    assert graph.evaluate("() => listeners") > watching
    graph.evaluate("() => { for (const node of app.graph.nodes.filter(({ type }) => type === 'ToCaCache')) app.graph.remove(node); }")
    assert graph.evaluate("() => listeners") == 2                    # those of this test
    assert graph.evaluate("() => document.querySelectorAll('.toca-live').length") == 0
    assert graph.complaints == []
