"""A saved preset lives in the workflow that uses it: kept from the node, listed at once, and run where its file is not."""

import json
import urllib.error
import urllib.request

import pytest

from tests.web.settling import settle, until
from tests.web.test_workflows import SET_SAMPLERS, load, workflow_of
from tools.browser import RUN
from tools.workflow import to_prompt

CACHE = "app.graph.nodes.find((node) => node.type === 'ToCaCache')"
PRESET = f"{CACHE}.widgets.find((widget) => widget.name === 'preset')"
NAME = "Zo\u00e9 \u5feb 1"
PROMPT = "async () => Object.values((await app.graphToPrompt()).output).find((node) => node.class_type === 'ToCaCache').inputs"
both = pytest.mark.parametrize("renderer", ["canvas", "vue"])


@pytest.fixture
def presets(server):
    """presets(**body) -> the server's answer; without a body what there is. Afterwards there are none."""
    def call(**body):
        data = json.dumps(body).encode() if body else None
        request = urllib.request.Request(f"{server.url}/toca/presets", data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return json.loads(error.read())

    def clear():
        for name in call():
            call(action="delete", name=name)
    clear()
    yield call
    clear()


def choose(page, words):
    page.locator(".toca-live .presets:visible").click()
    page.get_by_text(words, exact=True).click()


def confirm(page, name=None):
    dialog = page.locator("[role=dialog]")
    dialog.wait_for()
    if name is not None:
        dialog.locator("input").fill(name)
        page.keyboard.press("Enter")
    else:
        dialog.get_by_role("button", name="Confirm").click()
    dialog.wait_for(state="detached")


@both
def test_saved_renamed_and_deleted_from_the_node_and_run_without_its_file(open_page, renderer, presets):
    page = open_page(renderer)
    load(page, "demo_auto")
    page.evaluate(f"() => {{ const [x, y] = {CACHE}.pos; app.canvas.ds.scale = 1; app.canvas.ds.offset = [300 - x, 200 - y];"
                  f" app.canvas.setDirty(true, true); }}")
    settle(page)
    page.evaluate(f"() => {{ const widget = {CACHE}.widgets.find(({{ name }}) => name === 'tolerance'); widget.value = 0.4; }}")
    choose(page, "Save these settings as a preset")
    confirm(page, "first name")
    page.wait_for_function(f"() => {PRESET}.value === 'first name'")
    assert presets()["first name"]["tolerance"] == 0.4
    choose(page, "Rename first name")
    confirm(page, NAME)
    page.wait_for_function(f"(name) => {PRESET}.value === name", arg=NAME)
    assert list(presets()) == [NAME] and NAME in page.evaluate("() => LiteGraph.createNode('ToCaCache').widgets[1].options.values")

    page.evaluate(SET_SAMPLERS, {"steps": 10, "seed": 601 + len(renderer)})
    page.evaluate(f"() => {{ {CACHE}.widgets.find(({{ name }}) => name === 'tolerance').value = -1; }}")
    with_file = page.evaluate(RUN, 300_000)["reports"][-1]
    saved = json.loads(page.evaluate("() => JSON.stringify(app.graph.serialize())"))
    [node] = [node for node in saved["nodes"] if node["type"] == "ToCaCache"]
    assert node["widgets_values"][1] == NAME and node["properties"]["toca_preset"]["name"] == NAME

    choose(page, f"Delete {NAME}")
    confirm(page)
    until(page, "async () => !Object.keys(await (await fetch('/toca/presets')).json()).length")
    page.evaluate("(workflow) => app.loadGraphData(workflow)", saved)       # as on a machine that has no such file
    settle(page)
    assert page.evaluate(f"() => [{PRESET}.value, {PRESET}.options.values.includes({PRESET}.value)]") == [NAME, True]
    assert page.locator("[aria-invalid=true]").count() == 0
    page.evaluate(SET_SAMPLERS, {"steps": 10, "seed": 701 + len(renderer)})
    report = page.evaluate(RUN, 300_000)["reports"][-1]
    assert report["preset"] == NAME and "its settings came with the workflow" in report["note"]
    assert report["settings"] == with_file["settings"]
    assert json.loads(page.evaluate("() => JSON.stringify(app.graph.serialize())"))["nodes"] != []
    assert page.evaluate(PROMPT)["preset"].startswith(f"{NAME} {{")
    page.complaints[:] = [words for words in page.complaints if "toca" in words.lower()]
    assert page.complaints == []


def test_through_the_api_the_workflows_settings_count_and_nonsense_is_refused(client, presets):
    prompt = to_prompt(workflow_of("demo_auto"), client.object_info())
    inputs = {content["class_type"]: content["inputs"] for content in prompt.values()}
    inputs["KSampler"].update(steps=6)
    inputs["EmptyLatentImage"].update(batch_size=1)
    assert presets(action="save", name="mine", node="", system="dit", widgets={"preset": "auto", "tolerance": 0.1})["name"] == "mine"

    def noted(preset, seed):
        inputs["ToCaCache"]["preset"] = preset
        inputs["KSampler"]["seed"] = seed
        result = client.run(prompt)
        assert result.error is None
        [report] = result.of_type("toca.report")
        return report["preset"], report["settings"]["tolerance"], report["note"]

    assert noted("mine", 801)[:2] == ("mine", 0.1)
    name, tolerance, note = noted('mine {"version": 1, "level": "output", "tolerance": 0.7}', 802)
    assert (name, tolerance) == ("mine", 0.7) and "has other settings" in note
    assert noted('other {"level": "stack", "tolerance": 0.3}', 803)[:2] == ("other", 0.3)
    name, tolerance, note = noted("mine {no json", 804)
    assert (name, tolerance) == ("mine", 0.1) and "cannot be used" in note
    for preset, words in (("gone", "of which this machine has no file"), ("gone {", "its settings in the workflow are none"),
                          ('gone {"version": 9}', "update ToCa"), ('gone {"cycle": 0}', "cycle is 0")):
        inputs["ToCaCache"]["preset"] = preset
        with pytest.raises(Exception, match=words):
            client.run(prompt)


def test_the_route_refuses_by_name(presets):
    for body, words in (({"action": "save", "name": "a/b"}, "name is 'a/b'"),
                        ({"action": "save", "name": "auto"}, "preset of ToCa Cache already"),
                        ({"action": "rename", "name": "none", "to": "b"}, "no file"), ({"action": "delete", "name": "../x"}, "no file"),
                        ({"action": "burn"}, "action is one of"), ({"action": "save", "name": "x", "widgets": [1]}, "widgets is [1]"),
                        ({"action": "save", "name": "x", "widgets": {"preset": "paper"}}, "sample once")):
        assert words in presets(**body)["error"], body
    assert presets() == {}
