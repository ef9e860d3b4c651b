"""The chart of ToCa Ratios and ToCa Cache, as a user works with it, and the routes behind it."""

import json

import pytest

from tests.web.settling import settle
from tools.server import PROJECT

WORKFLOW = json.loads((PROJECT / "workflows" / "demo_ratios.json").read_text(encoding="utf-8"))
RATIOS = [0.34, 0.29, 0.24, 0.19, 0.14, 0.09, 0.04, 0]      # of that workflow, as many as its model has blocks
TOKENS = 256
STEPS = 5

NODE = "app.graph.nodes.find((node) => node.type === '{}')".format
TEXT = f"() => {NODE('ToCaRatios')}?.widgets[0].value"
READING = "() => document.querySelector('.toca-ratios:not([hidden]) .words')?.textContent"
RUN = """async ([steps, seed]) => {
    const values = { steps, seed, batch_size: 1 };
    const ours = app.graph.nodes.filter((node) => ["EmptyLatentImage", "KSampler"].includes(node.type));
    for (const widget of ours.flatMap(({ widgets }) => widgets)) widget.value = values[widget.name] ?? widget.value;
    const report = new Promise((resolve, reject) => {
        app.api.addEventListener("toca.report", (event) => resolve(event.detail), { once: true });
        setTimeout(() => reject(new Error("no report came")), 120_000);
        app.api.addEventListener("execution_error", (event) => reject(new Error(event.detail.exception_message)), { once: true });
    });
    await app.queuePrompt(0, 1);
    return report;
}"""
# Listeners of ours that are alive: not those taken away, nor those on elements that are no longer in the page.
WATCH = """() => {
    const { addEventListener, removeEventListener } = EventTarget.prototype;
    const kept = [];
    EventTarget.prototype.addEventListener = function (type, listener, options) {
        const ours = /\\/(ratios\\/|live\\/|graph\\.js)/.test(new Error().stack);
        if (ours) kept.push({ target: this, type, listener, signal: options?.signal });
        return addEventListener.call(this, type, listener, options);
    };
    EventTarget.prototype.removeEventListener = function (type, listener, options) {
        const found = kept.findIndex((one) => one.target === this && one.type === type && one.listener === listener);
        if (found >= 0) kept.splice(found, 1);
        return removeEventListener.call(this, type, listener, options);
    };
    const inPage = ({ target }) => !(target instanceof Node) || target.isConnected;
    window.alive = () => kept.filter(({ signal }) => !signal?.aborted).filter(inPage).map(({ type }) => type);
}"""


def wait_for_reading(page, words):
    page.wait_for_function(f"(words) => ({READING})()?.includes(words)", arg=words)


def wait_for_cost(page):
    """Which is known once the model has run."""
    page.wait_for_function("(steps) => document.querySelector('.toca-ratios:not([hidden]) .words.small').textContent.includes(steps)",
                           arg=f"{STEPS} steps")


@pytest.fixture
def charted(open_page):
    """charted(renderer) -> the front end with the workflow, its chart drawn and in sight."""
    def call(renderer):
        page = open_page(renderer)
        page.evaluate("(workflow) => app.loadGraphData(workflow)", WORKFLOW)
        wait_for_reading(page, "of 8")
        page.evaluate("() => { app.canvas.ds.scale = 1; app.canvas.ds.offset = [-300, 60]; app.canvas.setDirty(true, true); }")
        settle(page)
        return page
    return call


def place(page, block, value, blocks=8):
    """Where in the window a block and a value are."""
    box = page.locator(".toca-ratios:not([hidden]) .plot").bounding_box()
    return box["x"] + box["width"] * (block + 0.5) / blocks, box["y"] + box["height"] * (1 - value)


def stroke(page, *points):
    """Press at the first (block, value), go through the others, let go."""
    page.mouse.move(*place(page, *points[0]))
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*place(page, *point), steps=4)
    page.mouse.up()


def stored(page) -> list[float]:
    name, numbers = page.evaluate(TEXT).split(": ")
    assert name == "mlp"
    return [float(number) for number in numbers.split(", ")]


@pytest.mark.parametrize("renderer", ["canvas", "vue"])
def test_what_is_drawn_is_saved_and_run(charted, renderer):
    page = charted(renderer)
    assert stored(page) == RATIOS
    stroke(page, (1, 0.8))
    assert stored(page)[1] == pytest.approx(0.8, abs=0.02) and stored(page)[2:] == RATIOS[2:]
    stroke(page, (4, 0.2), (6, 0.6))
    drawn = stored(page)
    assert drawn[4:7] == pytest.approx([0.2, 0.4, 0.6], abs=0.02) and drawn[7] == RATIOS[7]

    saved = json.loads(page.evaluate("() => JSON.stringify(app.graph.serialize())"))
    [node] = [node for node in saved["nodes"] if node["type"] == "ToCaRatios"]
    assert node["widgets_values"] == [page.evaluate(TEXT)]
    page.evaluate("(workflow) => app.loadGraphData(workflow)", saved)
    wait_for_reading(page, "of 8")
    assert stored(page) == drawn

    report = page.evaluate(RUN, [STEPS, 71 + len(renderer)])        # a seed of its own, or the run comes from the server's cache
    partial = [step["fresh_per_block"]["mlp"] for step in report["steps"] if step["kind"] == "partial"]
    assert partial and all(shares == pytest.approx(drawn, abs=1.01 / TOKENS) for shares in partial)
    wait_for_cost(page)
    words = page.locator(".toca-ratios:not([hidden]) .words").all_inner_texts()
    assert words[1].startswith(f"{report['plain_flops'] / report['flops']:.2f}x fewer FLOPs")
    assert page.complaints == []


@pytest.mark.parametrize("renderer", ["canvas", "vue"])
def test_what_the_editor_does_to_nodes_works(charted, renderer):
    page = charted(renderer)
    stroke(page, (2, 0.9))
    assert stored(page)[2] == pytest.approx(0.9, abs=0.02)
    page.keyboard.press("Control+z")                                # with the chart in focus
    page.wait_for_function(f"(text) => ({TEXT})() === text", arg=WORKFLOW["nodes"][-1]["widgets_values"][0])
    settle(page)
    page.keyboard.press("Control+y")
    page.wait_for_function(f"(text) => ({TEXT})() !== text", arg=WORKFLOW["nodes"][-1]["widgets_values"][0])
    text = page.evaluate(TEXT)

    copies = page.evaluate("""() => {
        const node = app.graph.nodes.find((node) => node.type === "ToCaRatios");
        app.canvas.selectItems([node]);
        app.canvas.copyToClipboard([node]);
        app.canvas.pasteFromClipboard();
        return app.graph.nodes.filter((node) => node.type === "ToCaRatios").map((node) => node.widgets[0].value);
    }""")
    assert copies == [text, text]
    page.wait_for_function("() => document.querySelectorAll('.toca-ratios .plot svg').length >= 2")
    page.evaluate("() => { const copy = app.graph.nodes.at(-1); copy.collapse(); copy.collapse(); app.graph.remove(copy); }")

    page.evaluate(f"() => {{ {NODE('ToCaRatios')}.mode = 4; }}")
    prompt = page.evaluate("async () => (await app.graphToPrompt()).output")
    [cache] = [node for node in prompt.values() if node["class_type"] == "ToCaCache"]
    assert "ratios" not in cache["inputs"] and "ratios by block" not in cache["inputs"]
    page.complaints[:] = [words for words in page.complaints if "No input types match" not in words]        # says the host to that
    page.evaluate(f"() => {{ {NODE('ToCaRatios')}.mode = 0; }}")

    page.evaluate("""() => {
        const items = new Set(app.graph.nodes.filter((node) => ["ToCaRatios", "ToCaCache"].includes(node.type)));
        app.graph.convertToSubgraph(items);
    }""")
    prompt = page.evaluate("async () => (await app.graphToPrompt()).output")
    [ratios] = [node for node in prompt.values() if node["class_type"] == "ToCaRatios"]
    assert ratios["inputs"] == {"ratios": text}
    assert page.complaints == []


def test_keys_handles_and_presets(charted):
    page = charted("canvas")
    plot = page.locator(".toca-ratios:not([hidden]) .plot")
    plot.focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowUp", "PageUp"):
        page.keyboard.press(key)
    assert stored(page) == [0.34, 0.29, 0.35, *RATIOS[3:]]
    assert plot.get_attribute("role") == "slider" and plot.get_attribute("aria-valuenow") == "0.35"
    assert plot.get_attribute("aria-valuetext") == "mlp, block 3 of 8: 0.35"
    page.get_by_role("button", name="Flat").click()
    assert page.evaluate(TEXT) == "mlp: 0.18"
    page.get_by_role("slider", name="Slope of mlp at the first block").focus()
    page.keyboard.press("PageUp")
    assert stored(page) == pytest.approx([0.18 + 0.1 * (1 - 2 * block / 7) for block in range(8)], abs=0.006)
    page.get_by_role("button", name="More at the end").click()
    assert stored(page) == sorted(stored(page))
    page.evaluate(RUN, [STEPS, 911])                                # from then on it is known how many blocks the model has
    wait_for_cost(page)
    page.get_by_role("button", name="Paper").click()                # DiT, 0.07 x 2.5, and -0.2 along 27 blocks
    wait_for_reading(page, "of 8")
    assert stored(page)[:2] == pytest.approx([0.175 * 0.8, 0.175 * (0.8 + 0.4 / 27)], abs=0.001)


@pytest.mark.parametrize("renderer", ["canvas", "vue"])
def test_a_group_of_blocks_moves_together(charted, renderer):
    """Marked with Shift, by dragging or by keys; it ends with a click elsewhere, or with Escape."""
    page = charted(renderer)
    page.keyboard.down("Shift")
    stroke(page, (2, 0.5), (5, 0.9))
    page.keyboard.up("Shift")
    assert stored(page) == RATIOS
    wait_for_reading(page, "mlp, blocks 3-6 of 8: mean 0.1")
    stroke(page, (4, 0.2), (4, 0.5))
    moved = [*RATIOS[:2], *(ratio + 0.3 for ratio in RATIOS[2:6]), *RATIOS[6:]]
    assert stored(page) == pytest.approx(moved, abs=0.021)
    page.keyboard.press("ArrowUp")                                  # with the chart in focus
    assert stored(page) == pytest.approx([*moved[:2], *(ratio + 0.01 for ratio in moved[2:6]), *moved[6:]], abs=0.021)
    page.keyboard.press("Escape")
    wait_for_reading(page, "block 6 of 8")
    page.keyboard.press("Shift+End")
    wait_for_reading(page, "blocks 6-8 of 8")
    stroke(page, (0, 0.7))
    assert stored(page)[0] == pytest.approx(0.7, abs=0.02)
    wait_for_reading(page, "block 1 of 8")
    assert page.complaints == []


def test_text_that_cannot_be_read_is_named_and_harms_nothing(charted):
    page = charted("canvas")
    for text, words in (("mlp: 0.2, high", "high"), ("mlp: 1.4", "1.4"), ("mpl: 0.2", "mpl"), ("mlp: 0.1\nmlp: 0.2", "twice")):
        page.evaluate(f"(text) => {{ {NODE('ToCaRatios')}.widgets[0].value = text; }}", text)
        page.wait_for_function("(words) => document.querySelector('.toca-ratios .error')?.textContent.includes(words)", arg=words)
    assert page.evaluate(TEXT) == text
    assert page.complaints == []


def test_the_cache_has_the_chart_over_its_own_text(charted):
    """With preset custom and nothing connected; folded until it is asked for."""
    page = charted("canvas")
    cache = NODE("ToCaCache")
    chart = f"{cache}.widgets.find((widget) => widget.name === 'ratios by block').element"
    widget = f"{cache}.widgets.find((widget) => widget.name === '{{}}')".format
    assert page.evaluate(f"() => {chart}.hidden")
    page.evaluate(f"() => app.graph.remove({NODE('ToCaRatios')})")
    page.wait_for_function(f"() => !{chart}.hidden && {chart}.classList.contains('closed')")
    page.evaluate(f"() => {chart}.querySelector('.open').click()")
    page.wait_for_function(f"() => {chart}.querySelector('.plot svg')?.checkVisibility()")
    page.evaluate(f"() => [...{chart}.querySelectorAll('button')].find((button) => button.textContent === 'Flat').click()")
    assert page.evaluate(f"() => {widget('block_ratios')}.value") == "mlp: 0.16"
    page.evaluate(f"() => {{ const preset = {widget('preset')}; preset.value = 'auto'; preset.callback('auto'); }}")
    page.wait_for_function(f"() => {chart}.hidden")
    assert page.complaints == []


@pytest.mark.parametrize("renderer", ["canvas", "vue"])
def test_ratios_that_do_not_count_are_dimmed_and_a_click_makes_them_count(charted, renderer):
    page = charted(renderer)
    set_cache = f"(values) => {{ for (const [name, value] of Object.entries(values)) {{ const widget = {NODE('ToCaCache')}.widgets.find("
    set_cache += "(widget) => widget.name === name); widget.value = value; widget.callback(value); } }"
    for values, words in (({"preset": "auto"}, "Preset auto"), ({"preset": "custom", "level": "stack"}, "Level stack")):
        page.evaluate(set_cache, values)
        page.wait_for_function("(words) => document.querySelector('.toca-ratios.unused .why')?.textContent.includes(words)", arg=words)
        page.get_by_role("button", name="Use these ratios").click()
        page.wait_for_function("() => !document.querySelector('.toca-ratios:not([hidden]).unused')")
        widgets = f"{NODE('ToCaCache')}.widgets"
        chosen = page.evaluate(f"() => ['preset', 'level'].map((name) => {widgets}.find((one) => one.name === name).value)")
        assert chosen == ["custom", "module"]
    assert page.complaints == []


ON_THE_FACE = ("""() => {
    const nodes = new Set(app.graph.nodes.filter(({ type }) => ["ToCaRatios", "ToCaCache"].includes(type)));
    const { node } = app.graph.convertToSubgraph(nodes);
    window.face = node;
    for (const [type, name, kind] of [["ToCaRatios", "ratios", "STRING"], ["ToCaCache", "preset", "COMBO"]]) {
        const inner = node.subgraph.nodes.find((inner) => inner.type === type);
        node.subgraph.addInput(name, kind).connect(inner.inputs.find((input) => input.name === name), inner);
    }
}""", """() => {
    const preset = face.widgets.find(({ name }) => name === "preset");
    preset.value = "auto";
    preset.callback?.("auto");
    app.canvas.setGraph(face.subgraph);
}""", """() => {
    const inner = face.subgraph.nodes.find(({ type }) => type === "ToCaRatios");
    app.canvas.ds.scale = 1;
    app.canvas.ds.offset = [400 - inner.pos[0], 200 - inner.pos[1]];
    app.canvas.setDirty(true, true);
}""")


@pytest.mark.parametrize("renderer", ["canvas", "vue"])
def test_on_the_face_of_a_subgraph_painting_edits_what_runs(charted, renderer):
    """And the chart knows what the face says, and the model that comes in from outside."""
    page = charted(renderer)
    for script in ON_THE_FACE:
        page.evaluate(script)
        settle(page)
    page.wait_for_function("""() => [...document.querySelectorAll('.toca-ratios .why')].some((why) =>
        why.textContent.includes('Preset auto'))""")
    labels = page.evaluate("() => [...document.querySelectorAll('.toca-ratios [role=radio]')].map((tab) => tab.textContent.split(' ')[0])")
    assert "mlp" in labels and "cross_attn" not in labels
    page.evaluate("() => { const preset = face.widgets.find(({ name }) => name === 'preset'); preset.value = 'custom'; }")
    stroke(page, (2, 0.9))
    painted = "async () => Object.values((await app.graphToPrompt()).output).find((node) => node.class_type === 'ToCaRatios').inputs.ratios"
    assert float(page.evaluate(painted).split(": ")[1].split(", ")[2]) == pytest.approx(0.9, abs=0.03)
    assert page.complaints == []


def test_a_deleted_node_leaves_no_listener(open_page):
    page = open_page("canvas", own=True)        # one of its own, since every listener in it is watched
    page.evaluate(WATCH)
    page.evaluate("""() => {
        for (const type of ["ToCaRatios", "ToCaCache"]) app.graph.add(LiteGraph.createNode(type));
    }""")
    page.wait_for_function("() => document.querySelector('.toca-ratios .plot svg')")
    assert {"toca.report", "changed", "pointerdown", "keydown"} <= set(page.evaluate("() => alive()"))
    page.evaluate("() => { for (const node of [...app.graph.nodes]) app.graph.remove(node); }")
    page.wait_for_function("() => !document.querySelector('.toca-ratios')")
    assert page.evaluate("() => alive()") == []
    page.evaluate("""async () => {
        for (let time = 0; time < 50; time++) {
            const made = ["ToCaRatios", "ToCaCache"].map((type) => app.graph.add(LiteGraph.createNode(type)));
            await new Promise(requestAnimationFrame);
            for (const node of made) app.graph.remove(node);
        }
    }""")
    page.wait_for_function("() => !document.querySelector('.toca-ratios, .toca-live')")
    assert page.evaluate("() => alive()") == []
    asked = []
    page.on("request", lambda request: asked.append(request.url) if "/toca/" in request.url else None)
    page.evaluate("() => app.api.dispatchEvent(new CustomEvent('toca.report', { detail: {} }))")
    page.wait_for_timeout(500)
    assert asked == []


@pytest.mark.parametrize("renderer", ["canvas", "vue"])
def test_a_finger_paints_as_the_mouse_does(charted, renderer):
    page = charted(renderer)
    session = page.context.new_cdp_session(page)

    def finger(kind, *at):
        points = [{"x": x, "y": y} for x, y in (place(page, *point) for point in at)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    finger("touchStart", (2, 0.5))
    for block in (3, 4, 5):
        finger("touchMove", (block, 0.5))
    finger("touchEnd")
    page.wait_for_timeout(200)
    assert stored(page)[2:6] == pytest.approx([0.5] * 4, abs=0.02) and stored(page)[6:] == RATIOS[6:]
    finger("touchStart", (7, 0.9))
    finger("touchEnd")
    page.wait_for_timeout(200)
    assert stored(page)[7] == pytest.approx(0.9, abs=0.02)
    assert page.complaints == []
