"""The slider of ToCa Compare, in both renderers."""

import json

import pytest

from tests.web.settling import settle

# Two batches of three pictures, 64x48, one 51 levels brighter than the other.
BUILD = """() => {
    const add = (type, values) => {
        const node = LiteGraph.createNode(type);
        for (const widget of node.widgets) widget.value = values[widget.name] ?? widget.value;
        app.graph.add(node);
        return node;
    };
    app.graph.clear();
    const compare = add("ToCaCompare", {});
    [0x646464, 0x979797].forEach((color, slot) => {
        const image = add("EmptyImage", { width: 64, height: 48, batch_size: 3, color });
        image.pos = [-400, 250 * slot];
        image.connect(0, compare, slot);
    });
    app.canvas.ds.scale = 1;
    app.canvas.ds.offset = [600, 200];
}"""
STATE = """() => {
    const [before, after] = document.querySelectorAll(".toca-compare img");
    const [left, right] = document.querySelectorAll(".toca-compare [role=slider] span");
    return { clip: after.style.clipPath, widths: [before.naturalWidth, after.naturalWidth], shown: after.style.visibility,
             different: before.src !== after.src, labels: [left.textContent, right.textContent] };
}"""


@pytest.fixture(params=["canvas", "vue"])
def compared(request, open_page, run_graph):
    """A page on which two batches have been compared."""
    page = open_page(request.param)
    page.evaluate(BUILD)
    settle(page)
    run_graph(page)
    page.wait_for_function("""() => {
        const pictures = [...document.querySelectorAll(".toca-compare img")];
        return pictures.length && pictures.every((picture) => picture.naturalWidth === 64);
    }""")
    return page


def place(page) -> float:
    """Where the line stands, in percent."""
    return float(page.evaluate(STATE)["clip"].removesuffix(")").removesuffix("%").split()[-1])


def test_the_slider_follows_pointer_and_keys_and_turns_the_pictures(compared):
    page = compared
    state = page.evaluate(STATE)
    assert state["widths"] == [64, 64] and state["shown"] == "visible" and state["different"]
    assert state["labels"] == ["baseline", "accelerated"] and place(page) == 50
    stage, caption = page.locator(".toca-compare [role=slider]"), page.locator(".toca-compare span").last
    box = stage.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + box["height"] / 2)
    assert place(page) == pytest.approx(25, abs=1)
    stage.focus()
    before = place(page)
    page.keyboard.press("ArrowRight")
    assert place(page) == pytest.approx(before + 5)
    *words, alike = caption.inner_text().split()
    assert words == ["1/3", "·", "13.98", "dB", "·", "SSIM"] and float(alike) == pytest.approx(ssim(), abs=2e-4)
    page.get_by_title("previous picture").click()
    assert caption.inner_text().startswith("3/3")
    page.get_by_title("next picture").click()
    assert caption.inner_text().startswith("1/3")
    assert page.complaints == []


def ssim() -> float:
    """Of two flat pictures of 100 and 151 of 255."""
    one, other = 100 / 255, 151 / 255
    return (2 * one * other + 1e-4) / (one ** 2 + other ** 2 + 1e-4)


def test_pictures_that_are_not_finite_are_called_so(compared):
    """Their figures come as null."""
    page = compared
    page.evaluate("""() => {
        const node = app.graph.nodes.find((node) => node.type === "ToCaCompare");
        const figures = [{ picture: 1, psnr: null, ssim: null }, { picture: 2, psnr: 20, ssim: 0.5 }];
        node.onExecuted({ ...app.nodeOutputs[node.id], figures });
    }""")
    caption = page.locator(".toca-compare span").last
    assert caption.inner_text() == "1/2 · not finite"
    page.get_by_title("next picture").click()
    assert caption.inner_text() == "2/2 · 20.00 dB · SSIM 0.5000"
    assert page.complaints == []


def test_what_another_workflow_sent_goes_again(compared):
    """The host gives it to the node of the same id in the workflow that is open, before it is told whose it is."""
    page = compared
    own = page.evaluate("() => document.querySelector('.toca-compare img').src")
    arrive = """(prompt) => {
        const node = app.graph.nodes.find((node) => node.type === "ToCaCompare"), own = app.nodeOutputs[node.id];
        const output = { ...own, a_images: own.b_images };
        app.api.dispatchCustomEvent("toca.report", { prompt, workflow: prompt && "another", cache: "1", node: "2", run: 0, steps: [],
            settings: {} });
        app.api.dispatchCustomEvent("executed", { prompt_id: prompt, node: String(node.id), output });
        return document.querySelector(".toca-compare img").src;
    }"""
    assert page.evaluate(arrive, "of another") == own
    assert page.evaluate(arrive, "") != own                         # one that nothing is known of is taken as the host takes it


def test_where_it_has_nothing_of_its_own_nothing_stays(open_page):
    page = open_page("canvas")
    page.evaluate(BUILD)
    settle(page)
    pictures = page.evaluate("""() => {
        const node = app.graph.nodes.find((node) => node.type === "ToCaCompare"), [one, other] = ["1", "2"], prompt = "of another";
        const output = { a_images: [{ filename: one }], b_images: [{ filename: other }], figures: [{ picture: 1, psnr: 20, ssim: 0.5 }] };
        app.api.dispatchCustomEvent("toca.report", { prompt, workflow: "another", cache: "1", node: "2", run: 0, steps: [], settings: {} });
        app.api.dispatchCustomEvent("executed", { prompt_id: prompt, node: String(node.id), output });
        return [...document.querySelectorAll(".toca-compare img")].map((image) => [image.getAttribute("src"), image.style.visibility]);
    }""")
    assert pictures == [[None, "hidden"]] * 2
    assert page.locator(".toca-compare span").last.inner_text() == ""


def test_it_leaves_no_trace_in_workflow_and_prompt_and_goes_with_the_node(compared):
    page = compared
    workflow = json.loads(page.evaluate("() => JSON.stringify(app.graph.serialize())"))
    [node] = [node for node in workflow["nodes"] if node["type"] == "ToCaCompare"]
    assert node["widgets_values"] == [8]
    prompt = page.evaluate("async () => (await app.graphToPrompt()).output")
    [inputs] = [content["inputs"] for content in prompt.values() if content["class_type"] == "ToCaCompare"]
    assert inputs.keys() == {"baseline", "accelerated", "gain"}
    page.evaluate("() => app.graph.remove(app.graph.nodes.find((node) => node.type === 'ToCaCompare'))")
    settle(page)
    assert page.locator(".toca-compare").count() == 0
    assert page.complaints == []
