"""ToCa Cache shows the widgets that count, and no more, in both renderers; what is hidden keeps its value."""

import json

import pytest

from tests.web.settling import settle
from tests.web.test_workflows import SET_SAMPLERS, load, workflow_of
from tools.browser import RUN
from tools.server import PROJECT
from tools.workflow import to_prompt

CACHE = "app.graph.nodes.find((node) => node.type === 'ToCaCache')"
ADD = """(size) => {
    const node = LiteGraph.createNode("ToCaCache");
    node.pos = [300, 120];
    app.graph.add(node);
    if (size) node.setSize(size);
}"""
SET = f"""(values) => {{
    for (const [name, value] of Object.entries(values)) {{
        const widget = {CACHE}.widgets.find((widget) => widget.name === name);
        widget.value = value;
        widget.callback?.(value);
    }}
}}"""
# The labels of the rows of widgets that are drawn; those of the pack's own panels are left out.
ROWS = {
    "canvas": f"""() => {CACHE}.widgets.filter((widget) => {CACHE}.isWidgetVisible(widget)).map(({{ name }}) => name)
        .filter((name) => !['last run', 'ratios by block'].includes(name))""",
    "vue": """() => [...document.querySelectorAll("[data-testid=node-widget]")].map((row) => row.innerText.split("\\n")[0].trim()
        || row.querySelector("textarea")?.placeholder).filter((words, index, all) =>
        !document.querySelectorAll("[data-testid=node-widget]")[index].querySelector(".toca-live, .toca-ratios"))""",
}
# From the last thing on the node to its lower edge, in pixels at 100%.
EMPTY = {
    "canvas": f"""() => {{
        const node = {CACHE}, panel = node.widgets.find(({{ name }}) => name === "last run");
        const text = panel.element.lastElementChild.getBoundingClientRect(), canvas = app.canvas.canvas.getBoundingClientRect();
        return canvas.top + app.canvas.ds.offset[1] + node.pos[1] + node.size[1] - text.bottom;
    }}""",
    "vue": """() => document.querySelector("[data-node-id]").getBoundingClientRect().bottom
        - document.querySelector(".toca-live").lastElementChild.getBoundingClientRect().bottom""",
}
DRAWN_HEIGHT = {
    "canvas": f"() => {CACHE}.size[1]",
    "vue": f"() => document.querySelector(`[data-node-id='${{{CACHE}.id}}']`).getBoundingClientRect().height / app.canvas.ds.scale",
}
BUDGET = {"calls", "speed", "refine"}
AUTO = {"enable", "preset", "likeness"} | BUDGET
ALWAYS = {"start_percent", "end_percent", "verbose", "memory_budget", "cache_device", "cache_dtype"}
MODULE = {"fresh_ratio", "cycle", "mlp_share", "cross_attn_share", "layer_slope", "score", "level", "stale_tokens"}
RARE = {"step_slope", "cycle_rule", "warmup_steps", "staleness_weight", "spread_bonus", "spread_cell", "block_ratios", "parallel_mlp_share",
        "cross_attn_cycle", "mlp_cycle"}
both = pytest.mark.parametrize("renderer", ["canvas", "vue"])


def do(page, script, values=None):
    page.evaluate(script, values)
    settle(page)


def rows(page, renderer):
    return set(page.evaluate(ROWS[renderer]))


@both
def test_a_preset_shows_what_counts_with_it_and_nothing_else(open_page, renderer):
    page = open_page(renderer)
    do(page, ADD)
    before = page.evaluate(f"() => JSON.stringify({CACHE}.serialize().widgets_values)")
    for values, wanted in [
        ({}, AUTO), ({"preset": "paper"}, {"enable", "preset"}), ({"preset": "custom"}, {"enable", "preset"} | MODULE),
        ({"level": "stack"}, AUTO - {"refine"} | {"level", "cycle"}), ({"tolerance": 0.4}, AUTO - {"refine"} | {"level"}),
        ({"tolerance": 0.37}, AUTO - {"refine"} | {"level", "tolerance"}), ({"level": "output"}, AUTO | {"level", "tolerance"}),
        ({"preset": "quality"}, {"enable", "preset"} | BUDGET), ({"preset": "custom", "level": "module"}, {"enable", "preset"} | MODULE),
        ({"preset": "auto"}, AUTO | {"tolerance"}),
        ({"tolerance": -1}, AUTO), ({"memory_budget": 2}, AUTO | {"memory_budget"}),
    ]:
        do(page, SET, values)
        assert rows(page, renderer) == wanted, values
    do(page, SET, {"memory_budget": 0})
    assert page.evaluate(f"() => JSON.stringify({CACHE}.serialize().widgets_values)") == before
    assert page.complaints == []


@both
def test_rare_settings_are_a_click_away(open_page, renderer):
    page = open_page(renderer)
    do(page, ADD)
    page.locator(".toca-live .more:visible").click()
    settle(page)
    assert rows(page, renderer) == AUTO | ALWAYS
    do(page, SET, {"preset": "custom"})
    assert rows(page, renderer) == {"enable", "preset"} | MODULE | RARE | ALWAYS
    do(page, SET, {"stale_tokens": "forecast"})
    assert rows(page, renderer) == {"enable", "preset", "order"} | MODULE | RARE | ALWAYS
    page.locator(".toca-live .more:visible").click()
    settle(page)
    assert rows(page, renderer) == {"enable", "preset"} | MODULE
    assert page.complaints == []


@both
def test_the_tolerance_has_names_and_minus_one_is_never_seen(open_page, renderer):
    """The list writes the number; a number of one's own has its widget beside the list."""
    page = open_page(renderer)
    do(page, ADD)
    said = f"() => ['likeness', 'tolerance'].map((wanted) => {CACHE}.widgets.find(({{ name }}) => name === wanted).value)"
    choose = f"""(start) => {{
        const widget = {CACHE}.widgets.find(({{ name }}) => name === "likeness");
        widget.value = widget.options.values.find((words) => words.startsWith(start));
        widget.callback(widget.value);
    }}"""
    assert page.evaluate(said) == ["As fast as looks the same (0.2%)", -1]
    do(page, choose, "Fastest")
    assert page.evaluate(said)[1] == 0.8 and "tolerance" not in rows(page, renderer)
    do(page, choose, "A number")
    assert page.evaluate(said)[1] == 0.8 and "tolerance" in rows(page, renderer)
    do(page, choose, "As fast")
    do(page, choose, "A number")
    assert page.evaluate(said)[1] == 0.2 and "tolerance" in rows(page, renderer)
    do(page, choose, "As fast")
    assert page.evaluate(said)[1] == -1 and "tolerance" not in rows(page, renderer)
    prompt = page.evaluate("async () => (await app.graphToPrompt()).output")
    assert not {"likeness", "last run", "ratios by block"} & next(iter(prompt.values()))["inputs"].keys()


@both
def test_a_fresh_node_has_no_empty_space(open_page, renderer):
    for width in (None, 260, 400, 900):
        page = open_page(renderer)
        do(page, ADD, width and [width, 40])
        for preset in ("auto", "custom", "auto", "paper"):
            do(page, SET, {"preset": preset})
            if preset != "custom":
                assert -8 <= page.evaluate(EMPTY[renderer]) < {"canvas": 45, "vue": 60}[renderer], (width, preset)   # Vue has a badge there


@both
def test_an_old_workflow_opens_with_its_values_and_without_empty_space(open_page, renderer, client):
    page = open_page(renderer)
    workflow = workflow_of("demo_auto")
    [node] = [node for node in workflow["nodes"] if node["type"] == "ToCaCache"]
    node["size"] = [420, 800]                                       # as high as with all widgets on it
    node["properties"].pop("toca_layout", None)
    node["widgets_values"] = node["widgets_values"][:16]            # of the first version
    page.evaluate("(workflow) => app.loadGraphData(workflow)", workflow)
    settle(page)
    assert page.evaluate(f"() => {CACHE}.size[1]") < 330
    saved = json.loads(page.evaluate(f"() => JSON.stringify({CACHE}.serialize())"))
    assert saved["widgets_values"][:16] == node["widgets_values"] and saved["size"][1] < 330
    page.evaluate(f"() => {{ {CACHE}.setSize([420, 500]); }}")
    saved = json.loads(page.evaluate("() => JSON.stringify(app.graph.serialize())"))
    page.evaluate("(workflow) => app.loadGraphData(workflow)", saved)
    settle(page)
    assert page.evaluate(f"() => {CACHE}.size[1]") == pytest.approx(500, abs=1)     # what a user has made higher stays so
    assert page.complaints == []


@both
def test_what_a_run_shows_is_no_edit(open_page, renderer):
    """The node grows with it; undo and redo go on as before, and its panel is the new node's."""
    page = open_page(renderer)
    load(page, "demo_auto")
    state = """(steps) => {
        const widget = app.graph.nodes.find(({ type }) => type === "KSampler").widgets.find(({ name }) => name === "steps");
        const { changeTracker } = app.extensionManager.workflow.activeWorkflow;
        if (steps) {
            widget.value = steps;
            (changeTracker.captureCanvasState ?? changeTracker.checkState).call(changeTracker);
        }
        return [widget.value, changeTracker.undoQueue.length, changeTracker.redoQueue.length];
    }"""
    page.evaluate(SET_SAMPLERS, {"seed": 951 + len(renderer)})
    page.evaluate(state, 4)
    before = page.evaluate(f"() => {CACHE}.serialize().size[1]")
    page.evaluate(RUN, 300_000)
    settle(page)
    assert page.evaluate(DRAWN_HEIGHT[renderer]) > before + 40 and page.evaluate(f"() => {CACHE}.serialize().size[1]") == before
    page.evaluate(state, 5)
    page.evaluate(state, 6)
    page.mouse.click(700, 150)                  # where nothing is
    for key, *values in (("z", 5, 4), ("y", 5, 6)):
        for wanted in values:
            page.keyboard.press(f"Control+{key}")
            page.wait_for_function(f"(steps) => ({state})()[0] === steps", arg=wanted, timeout=20_000)
        page.wait_for_timeout(2300)             # by then web/toca.js has laid the panels anew for the last time
    assert page.evaluate(state)[2] == 0
    element = f"{CACHE}.widgets.find(({{ name }}) => name === 'last run').element"
    assert page.evaluate(f"() => {element}.isConnected && {element}.querySelectorAll('rect').length") == 4


def test_a_tolerance_left_from_auto_stops_no_run(client):
    prompt = to_prompt(workflow_of("demo_auto"), client.object_info())
    inputs = {content["class_type"]: content["inputs"] for content in prompt.values()}
    inputs["KSampler"].update(steps=6, seed=91)
    inputs["EmptyLatentImage"].update(batch_size=1)
    inputs["ToCaCache"].update(preset="custom", tolerance=0.5)
    result = client.run(prompt)
    assert result.error is None
    [report] = result.of_type("toca.report")
    assert "tolerance of 0.5 was not used" in report["note"] and report["settings"]["tolerance"] is None


def test_every_widget_has_its_place(open_page, client):
    """In the table of what counts when; at levels stack and output no setting of modules."""
    page = open_page("canvas")
    told = page.evaluate(f"""async () => {{
        const {{ counting }} = await import("/extensions/{PROJECT.name}/cache/shown.js");
        const found = {{}};
        for (const preset of ["auto", "paper", "custom"]) for (const level of ["module", "stack", "output"])
            for (const tolerance of [-1, 0.2]) for (const stale_tokens of ["reuse", "forecast"]) {{
                const {{ always, folded }} = counting({{ preset, level, tolerance, stale_tokens }});
                (found[preset === "custom" ? level : preset] ??= []).push(...always, ...folded);
            }}
        return found;
    }}""")
    info = client.object_info()["ToCaCache"]["input"]
    widgets = {name for group in info.values() for name, spec in group.items() if spec[0] in ("BOOLEAN", "COMBO", "FLOAT", "INT", "STRING")}
    assert widgets <= {name for names in told.values() for name in names}
    from toca_core.config import MODULE, SETTINGS
    of_modules = {name for name, entry in SETTINGS.items() if entry.metadata["counts"] == MODULE}
    assert not of_modules & {*told["stack"], *told["output"], *told["auto"], *told["paper"]}
    assert load(page, "demo_auto")


def test_the_panel_says_beforehand_what_a_run_will_take(page):
    """By the sampler that the node feeds, and as the run itself will round."""
    load(page, "demo_auto")
    told = "() => document.querySelector('.toca-live .budget:not([hidden])')?.textContent ?? ''"
    sampler = "app.graph.nodes.find((node) => node.widgets?.some(({ name }) => name === 'steps'))"
    page.evaluate(f"() => {{ {sampler}.widgets.find(({{ name }}) => name === 'steps').value = 30; }}")
    for values, words in [({"calls": 0}, ""), ({"calls": 12}, "12 of 30 calls of the model, about 2.5x as fast"),
                          ({"calls": 0, "speed": 4.0}, "8 of 30 calls of the model, about 3.8x as fast"),
                          ({"calls": 40, "speed": 0.0}, "30 of 30 calls of the model, about 1.0x as fast"),
                          ({"calls": 12, "preset": "paper"}, ""), ({"preset": "auto"}, "12 of 30 calls of the model, about 2.5x as fast")]:
        do(page, SET, values)
        assert page.evaluate(told) == words, values
    page.evaluate(f"() => {{ {sampler}.widgets.find(({{ name }}) => name === 'sampler_name').value = 'heun'; }}")
    page.hover(".toca-live .budget")
    page.wait_for_function("() => document.querySelector('.toca-live .budget').textContent === 'At most 12 calls of the model'")


def test_with_a_scheduler_of_its_own_it_goes_by_the_chosen_sampler(open_page):
    """FLUX.2's scheduler knows no model, and the sampler is a node too."""
    page = open_page("canvas")
    load(page, "flux2_dev")
    for sampler, words in (("euler", "12 of 20 calls of the model, about 1.7x as fast"), ("heun", "At most 12 calls of the model"),
                           ("uni_pc", "12 of 20 calls of the model, about 1.7x as fast")):
        page.evaluate("""(name) => {
            app.graph.nodes.find(({ type }) => type === "KSamplerSelect").widgets[0].value = name;
        }""", sampler)
        page.evaluate(SET, {"calls": 0})
        page.evaluate(SET, {"calls": 12})
        assert page.evaluate("() => document.querySelector('.toca-live .budget').textContent") == words
