"""The front end in Chinese: names in the nodes, what the pack's own panels say, and the help pages."""

import json
import re

from tests.web.settling import settle
from tests.web.test_workflows import SET_SAMPLERS, load
from tools.browser import RUN
from tools.server import PROJECT

NODES = list(json.loads((PROJECT / "locales/zh/nodeDefs.json").read_text(encoding="utf-8")))
SHOWN = """(types) => Object.fromEntries(types.map((type) => {
    const node = LiteGraph.createNode(type);
    const named = (parts) => Object.fromEntries(parts.map((part) => [part.name, part.label ?? part.localized_name]));
    return [type, { title: node.title, inputs: { ...named(node.widgets ?? []), ...named(node.inputs ?? []) },
                    outputs: node.outputs.map((output) => output.label ?? output.localized_name) }];
}))"""
# As the front end asks for a help page: that of the language first. -> its text, and the width of its picture
HELP = """async ([folder, name]) => {
    const text = await (await fetch(`${folder}${name}/zh.md`)).text(), picture = new Image();
    picture.src = folder + text.match(/!\\[[^\\]]+\\]\\(([^)]+)\\)/)[1];
    await picture.decode();
    return [text, picture.naturalWidth];
}"""


def test_nodes_are_in_chinese_and_their_help_is_found(open_page, server):
    page = open_page("canvas", **{"Comfy.Locale": "zh"})
    shown, served = page.evaluate(SHOWN, NODES), page.request.get(f"{server.url}/i18n").json()["zh"]["nodeDefs"]
    for name in NODES:
        entry = served[name]
        assert shown[name]["title"] == entry["display_name"]
        assert shown[name]["outputs"] == [output["name"] for output in entry["outputs"].values()], name
        for key, part in entry["inputs"].items():
            assert shown[name]["inputs"][key] == part["name"], (name, key)
    for name in NODES:
        text, width = page.evaluate(HELP, [f"/extensions/{PROJECT.name}/docs/", name])
        assert text.startswith("# ToCa ") and "## 输入" in text and width > 200, name
    assert page.complaints == []


# ---- the pack's own words in the browser ----

PANELS = """() => [...document.querySelectorAll(".toca-live, .toca-ratios, .toca-compare")].flatMap((panel) =>
    [panel, ...panel.querySelectorAll("*")].flatMap((part) => [part.childElementCount ? "" : part.textContent,
        part.getAttribute("title") ?? "", part.getAttribute("aria-label") ?? ""]))"""
LISTS = """() => app.graph.nodes.filter(({ type }) => type.startsWith("ToCa")).flatMap(({ widgets }) => widgets ?? []).flatMap(
    ({ label, name, options }) => [label ?? name, ...(["likeness", "goal"].includes(name) ? options.values : [])])"""
UNTRANSLATED = {"ToCa", "ComfyUI", "MLP", "FLOPs", "token", "auto", "quality", "paper", "custom", "module", "stack", "output", "mlp",
                "KB", "MB", "GB", "dB", "SSIM", "CFG"}       # names that stand for values, units and modules


def strings() -> dict[str, str]:
    """id -> English, as web/words.js has them."""
    source = (PROJECT / "web" / "words.js").read_text(encoding="utf-8")
    return {name: "".join(re.findall(r'"((?:[^"\\\\]|\\\\.)*)"', text)) for name, text in
            re.findall(r'^    "([\w.]+)": ((?:"(?:[^"\\\\]|\\\\.)*"[\s+]*)+),$', source, re.MULTILINE)}


def test_every_string_has_a_chinese_side():
    english = strings()
    chinese = json.loads((PROJECT / "locales/zh/main.json").read_text(encoding="utf-8"))["toca"]
    assert len(english) > 80 and chinese.keys() == english.keys()
    for name, text in english.items():
        assert set(re.findall(r"\{\w+\}", chinese[name])) == set(re.findall(r"\{\w+\}", text)), name
        assert re.search("[\u3002\u4e00-\u9fff]", chinese[name]), name


def test_every_string_is_asked_for():
    sources = "".join(path.read_text(encoding="utf-8") for path in (PROJECT / "web").rglob("*.js"))
    made = {"state.", "kind.", "picture.", "level.", "likeness.", "chart.", "chart.slope.", "goal.",
            "amount."}                                          # put together from parts
    assert not [name for name in strings() if f'"{name}"' not in sources.replace(f'    "{name}": ', "") and
                not any(name.startswith(part) for part in made)]


def test_no_english_is_left_in_the_panels(open_page):
    """Which are the same elements in both renderers."""
    page = open_page("canvas", **{"Comfy.Locale": "zh"})
    for name in ("demo_ratios", "demo_compare"):
        load(page, name)
        page.evaluate(SET_SAMPLERS, {"steps": 6, "seed": 901})
        page.evaluate(RUN, 300_000)
        settle(page)
        said = [text for text in [*page.evaluate(PANELS), *page.evaluate(LISTS)] if text]
        assert len(said) > 20
        left = {word for text in said for word in re.findall("[A-Za-z]{2,}", text)} - UNTRANSLATED
        assert left == set(), name
