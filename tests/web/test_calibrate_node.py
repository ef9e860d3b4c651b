"""ToCa Calibrate as a user sees it: how its target is asked for, and what it shows on the way."""

import pytest

from tests.web.test_workflows import load
from tools.browser import RUN

WIDGETS = {             # names of those that are drawn
    "canvas": "() => app.graph.nodes.find(({ type }) => type === 'ToCaCalibrate').widgets.filter((widget) => "
              "widget.node.isWidgetVisible(widget)).map(({ name }) => name)",
    "vue": """() => {
        const node = app.graph.nodes.find(({ type }) => type === "ToCaCalibrate");
        const names = Object.fromEntries(node.widgets.map(({ label, name }) => [label ?? name, name]));
        return [...document.querySelectorAll(`[data-node-id="${node.id}"] [data-testid=node-widget]`)].map((row) =>
            names[row.innerText.split("\\n")[0].trim()] ?? names[row.querySelector("textarea, input")?.placeholder] ?? "");
    }""",
}
CALIBRATE = "app.graph.nodes.find((node) => node.type === 'ToCaCalibrate')"
SET = f"""async (values) => {{
    for (const [name, value] of Object.entries(values)) {{
        const widget = {CALIBRATE}.widgets.find((widget) => widget.name === name);
        widget.value = value;
        widget.callback?.(value);
    }}
    await new Promise((resolve) => setTimeout(resolve, 400));
    return {CALIBRATE}.widgets.find(({{ name }}) => name === "target").value;
}}"""


@pytest.mark.parametrize("renderer", ["canvas", "vue"])
def test_the_target_is_a_choice_and_a_number_or_words(open_page, renderer):
    page = open_page(renderer)
    load(page, "demo_calibrate")

    def shown():
        return {"target", "goal", "amount"} & set(page.evaluate(WIDGETS[renderer]))

    assert shown() == {"goal", "amount"}
    assert page.evaluate(SET, {"goal": "a speed"}) == "2.5x"
    for values, wanted in [({"amount": 3.0}, "3x"), ({"goal": "a likeness"}, "PSNR >= 35"), ({"amount": 40.5}, "PSNR >= 40.5"),
                           ({"goal": "a memory"}, "within 6 GB"), ({"goal": "a number of calls"}, "10 calls"),
                           ({"amount": 12}, "12 calls")]:
        assert page.evaluate(SET, values) == wanted and shown() == {"goal", "amount"}, values
    assert page.evaluate(SET, {"goal": "in words of your own"}) == "12 calls" and shown() == {"target", "goal"}
    saved = page.evaluate("() => JSON.parse(JSON.stringify(app.graph.serialize()))")
    page.evaluate("(saved) => app.loadGraphData(saved)", {**saved})
    page.wait_for_timeout(600)
    assert shown() == {"goal", "amount"}
    prompt = page.evaluate("async () => (await app.graphToPrompt()).output")
    [inputs] = [node["inputs"] for node in prompt.values() if node["class_type"] == "ToCaCalibrate"]
    assert inputs["target"] == "12 calls" and not {"goal", "amount", "time it takes"} & inputs.keys()
    assert page.complaints == []


def test_it_says_how_long_it_takes_and_shows_pictures_as_they_come(open_page):
    page = open_page("canvas")
    load(page, "demo_calibrate")
    line = "document.querySelector('.toca-calibrate').textContent"
    page.evaluate(SET, {"effort": 1, "steps": 8, "first_seed": 41, "sensitivity": False, "target": "PSNR >= 30"})
    assert page.evaluate(f"() => {line}") == "Takes about 6 runs, none for what is known."
    page.evaluate(f"""() => {{
        const small = app.graph.nodes.find(({{ type }}) => type === "EmptyLatentImage").widgets;
        small.find(({{ name }}) => name === "batch_size").value = 1;
        window.lines = new Set();
        window.previews = 0;
        const {{ signal }} = window.testing;
        app.api.addEventListener("progress", () => lines.add({line}), {{ signal }});
        for (const type of ["b_preview", "b_preview_with_metadata"])
            app.api.addEventListener(type, () => {{ previews += 1; }}, {{ signal }});
    }}""")
    page.evaluate(RUN, 300_000)
    said, previews = page.evaluate("() => [[...lines], previews]")
    assert previews >= 3 and any(line.startswith("Calibrating, about ") and line.endswith(" s left.") for line in said)
    assert page.evaluate(f"() => {line}").startswith("Takes about 6 runs")
