"""The front end in Chinese: names in the nodes, and the help page."""

import json

from tools.server import PROJECT

NODES = json.loads((PROJECT / "locales/zh/nodeDefs.json").read_text(encoding="utf-8"))
SHOWN = """(types) => Object.fromEntries(types.map((type) => {
    const node = LiteGraph.createNode(type);
    const named = (parts) => Object.fromEntries(parts.map((part) => [part.name, part.label ?? part.localized_name]));
    return [type, { title: node.title, inputs: { ...named(node.widgets ?? []), ...named(node.inputs ?? []) },
                    outputs: node.outputs.map((output) => output.label ?? output.localized_name) }];
}))"""
SELECT = """(type) => {
    app.graph.clear();
    const node = LiteGraph.createNode(type);
    app.graph.add(node);
    app.canvas.ds.scale = 1;
    app.canvas.ds.offset = [700, 300];
    app.canvas.selectItems([node]);
}"""


def test_nodes_and_help_are_in_chinese(open_page):
    page = open_page("canvas", **{"Comfy.Locale": "zh"})
    shown = page.evaluate(SHOWN, list(NODES))
    for name, entry in NODES.items():
        assert shown[name]["title"] == entry["display_name"]
        assert shown[name]["outputs"] == [output["name"] for output in entry["outputs"].values()], name
        for key, part in entry["inputs"].items():
            assert shown[name]["inputs"][key] == part["name"], (name, key)
    page.evaluate(SELECT, "ToCaCache")
    page.get_by_test_id("info-button").click()
    help_page = page.locator(".node-help-content")
    help_page.locator("h1").wait_for()
    assert help_page.locator("h1").inner_text() == "ToCa 缓存"
    assert help_page.locator("td", has_text="误差容限").count() > 0
    page.wait_for_function("() => document.querySelector('.node-help-content img')?.naturalWidth > 400")
    assert page.complaints == []
