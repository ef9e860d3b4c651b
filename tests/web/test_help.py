"""The help pages as the host shows them, in its side panel."""

import pytest

NARROW = 280 - 16                   # pixels: of the narrowest panel, without its padding
OPENED = """(type) => {
    app.graph.clear();
    app.graph.add(LiteGraph.createNode(type));
    app.canvas.selectItems([...app.graph.nodes]);
}"""
# In newer front ends the class has a prefix.
TITLE = """(title) => document.querySelector("[class*='markdown-content'] h1")?.textContent === title"""
TOO_WIDE = """(width) => {
    const page = document.querySelector("[class*='markdown-content']");
    page.style.width = `${width}px`;
    for (const part of page.querySelectorAll("details")) part.open = true;
    const right = page.getBoundingClientRect().left + width + 1;
    const rows = [...page.querySelectorAll("tr")].filter((row) => row.getBoundingClientRect().right > right);
    return rows.map((row) => row.innerText.slice(0, 60));
}"""


@pytest.mark.parametrize("language", ["en", "zh"])
def test_their_tables_fit_a_narrow_panel(open_page, client, language):
    page = open_page("canvas", own=True, **{"Comfy.Locale": language, "Comfy.RightSidePanel.IsOpen": True})
    for name in client.our_nodes():
        page.evaluate(OPENED, name)
        page.get_by_test_id("panel-tab-info").click()
        title = page.evaluate("(type) => LiteGraph.registered_node_types[type].title", name)
        page.wait_for_function(TITLE, arg=title)
        assert page.evaluate(TOO_WIDE, NARROW) == [], name
