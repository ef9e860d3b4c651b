"""The front end in Chinese: names in the nodes, and their help pages."""

import json

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
