"""Every workflow that comes with the pack, opened and run as a user would."""

import io
import json

import pytest
import torch
from PIL import Image, ImageChops

from tools.pack import load_host, pack_module
from tools.server import PROJECT, PromptRejected
from tools.tiny_text import tiny_clip
from tools.tiny_vae import tiny_vae
from tools.workflow import REMARKS, to_prompt

WORKFLOWS = {file.stem: file for file in sorted((PROJECT / "workflows").glob("*.json"))}
DEMOS = [name for name in WORKFLOWS if name.startswith("demo_")]
DIT = "diffusion_models/DiT-XL-2-256x256.pt"
UNREADABLE = ("diffusion_models/PixArt-XL-2-512x512.pth", "text_encoders/t5xxl_fp16.safetensors",
         "vae/vae-ft-mse-840000-ema-pruned.safetensors")
STEPS = 10                          # divides 1000, or ddim_uniform makes one more

SET_SAMPLER = """(values) => {
    for (const widget of app.graph.nodes.find((node) => node.type === "KSampler").widgets)
        widget.value = values[widget.name] ?? widget.value;
}"""
RUN = """async (timeout) => {
    const ended = new Promise((resolve, reject) => {
        setTimeout(() => reject(new Error("the run did not end")), timeout);
        app.api.addEventListener("execution_success", () => resolve());
        for (const type of ["execution_error", "execution_interrupted"])
            app.api.addEventListener(type, (event) => reject(new Error(JSON.stringify(event.detail))));
    });
    const reports = [];
    app.api.addEventListener("toca.report", (event) => reports.push(event.detail));
    await app.queuePrompt(0, 1);
    await ended;
    return { outputs: app.nodeOutputs, reports };
}"""
BOXES = {
    "canvas": "() => app.graph.nodes.map((node) => [node.title, ...node.boundingRect])",
    "vue": """() => [...document.querySelectorAll("[data-node-id]")].map((element) => {
        const box = element.getBoundingClientRect();
        return [app.graph.getNodeById(element.dataset.nodeId).title, box.x, box.y, box.width, box.height];
    })""",
}


@pytest.fixture(scope="module", autouse=True)
def stand_ins(server):
    """Files under the names that the workflows ask for: a small DiT with random weights, the others are no models."""
    models = server.folder / "models"
    files = [models / name for name in (DIT, *UNREADABLE)]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"stand-in")
    torch.save(small_dit(), files[0])
    yield
    for file in files:
        file.unlink()


def small_dit() -> dict:
    """The weights of a DiT on SD latents of 32x32 with 1000 classes: DiT-S/2, but 2 blocks deep."""
    load_host()
    dit = pack_module("nodes.models.dit")
    shape = dit.DiTShape(in_channels=4, out_channels=8, patch_size=2, hidden_size=384, depth=2, num_heads=6, mlp_hidden=1536,
                         classes=1000, grid=16)
    weights = dit.DiT(**shape.as_unet_config(), dtype=torch.float32, operations=torch.nn).state_dict()
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(weight.shape, generator=generator) * 0.02 for name, weight in weights.items()}


def workflow_of(name) -> dict:
    return json.loads(WORKFLOWS[name].read_text(encoding="utf-8"))


def load(page, name) -> dict:
    """Open a workflow in the front end, and wait until it has drawn and checked it."""
    workflow = workflow_of(name)
    page.evaluate("(workflow) => app.loadGraphData(workflow)", workflow)
    page.wait_for_timeout(1500)
    return workflow


@pytest.mark.parametrize("renderer", BOXES)
@pytest.mark.parametrize("name", WORKFLOWS)
def test_it_opens_without_complaint(open_page, client, name, renderer):
    page = open_page(renderer)
    workflow = load(page, name)
    types = {node["type"] for node in workflow["nodes"]}
    registered = set(page.evaluate("() => Object.keys(LiteGraph.registered_node_types)"))
    assert types <= registered
    assert page.evaluate("() => app.graph.nodes.filter((node) => node.has_errors).map((node) => node.type)") == []
    assert page.locator("[role=dialog]").count() == 0
    assert widget_values(json.loads(page.evaluate("() => JSON.stringify(app.graph.serialize())"))) == widget_values(workflow)
    assert browser_prompt(page) == to_prompt(workflow, client.object_info())
    assert overlaps(page.evaluate(BOXES[renderer]), len(workflow["nodes"])) == []
    assert page.complaints == []


def widget_values(workflow) -> dict:
    return {node["id"]: node.get("widgets_values") or [] for node in workflow["nodes"]}


def browser_prompt(page) -> dict:
    prompt = page.evaluate("async () => (await app.graphToPrompt()).output")
    return {node: {key: content[key] for key in ("class_type", "inputs")} for node, content in prompt.items()}


def overlaps(boxes, count) -> list[tuple[str, str]]:
    """The pairs of nodes that cover each other, of boxes (title, x, y, width, height)."""
    assert len(boxes) == count
    return [(one[0], other[0]) for index, one in enumerate(boxes) for other in boxes[index + 1:] if cover(*one[1:], *other[1:])]


def cover(x1, y1, width1, height1, x2, y2, width2, height2) -> bool:
    return x1 < x2 + width2 and x2 < x1 + width1 and y1 < y2 + height2 and y2 < y1 + height1


@pytest.mark.parametrize("name", DEMOS)
def test_a_demo_runs_from_the_browser(page, client, name):
    load(page, name)
    page.evaluate(SET_SAMPLER, {"steps": STEPS, "seed": 12})        # a seed of its own, or the run comes from the server's cache
    came = page.evaluate(RUN, 300_000)
    [output] = [output for output in came["outputs"].values() if output.get("images")]
    sizes = [Image.open(io.BytesIO(client.image(**image))).size for image in output["images"]]
    assert sizes == [(64, 64)] * 4
    assert [len(report["steps"]) for report in came["reports"]] == ([] if name == "demo_baseline" else [STEPS])
    assert page.complaints == []


def test_load_dit_samples(client):
    prompt = without_vae(to_prompt(workflow_of("load_dit"), client.object_info()))
    result = client.run(prompt)
    assert result.error is None
    [report] = result.of_type("toca.report")
    assert report["model"] == "DiT" and len(report["steps"]) == STEPS and report["calls"]["partial"] > 0


def without_vae(prompt) -> dict:
    """The prompt up to the sampler, with few steps; its latent is saved instead of a picture."""
    [sampler] = [node for node, content in prompt.items() if content["class_type"] == "KSampler"]
    prompt[sampler]["inputs"]["steps"] = STEPS
    kept = {node: content for node, content in prompt.items() if content["class_type"] not in ("VAELoader", "VAEDecode", "SaveImage")}
    return kept | {"save": {"class_type": "SaveLatent", "inputs": {"samples": [sampler, 0], "filename_prefix": "toca"}}}


def small_pixart() -> dict:
    """The weights of a PixArt-alpha of the released width, 2 blocks deep, whose captions are as wide as CLIP-L's context."""
    config = {"in_channels": 4, "hidden_size": 1152, "num_heads": 16, "depth": 2, "caption_channels": 768, "model_max_length": 120,
              "micro_condition": False}
    model = pack_module("nodes.models.pixart").PixArtAnySize(**config, dtype=torch.float32, operations=torch.nn)
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(weight.shape, generator=generator) * 0.05 for name, weight in model.state_dict().items()}


@pytest.fixture
def small_files(server):
    """For every file of load_pixart one that can be loaded: its name in the workflow -> the name of the other."""
    load_host()
    pixart, text, vae = (server.folder / "models" / file.split("/")[0] / f"small_{index}.pt" for index, file in enumerate(UNREADABLE))
    torch.save(small_pixart(), pixart)
    tiny_clip(text)
    tiny_vae(vae)
    yield {file.split("/")[1]: other.name for file, other in zip(UNREADABLE, (pixart, text, vae), strict=True)}
    for file in (pixart, text, vae):
        file.unlink()


def test_load_pixart_makes_a_picture(client, small_files):
    """From the prompt to the saved picture; in place of T5-XXL the smallest text encoder that CLIPLoader takes."""
    prompt = to_prompt(workflow_of("load_pixart"), client.object_info())
    for content in prompt.values():
        content["inputs"] |= {key: small_files[value] for key, value in content["inputs"].items() if str(value) in small_files}
    by_type = {content["class_type"]: content["inputs"] for content in prompt.values()}
    by_type["KSampler"]["steps"] = STEPS
    by_type["EmptyLatentImage"].update(width=256, height=192)
    pictures = []
    for text in ("a small cactus", "a large whale"):
        prompt["4"]["inputs"]["text"] = text
        result = client.run(prompt)
        assert result.error is None
        [report] = result.of_type("toca.report")
        assert report["model"] == "PixArtAnySize" and len(report["steps"]) == STEPS and report["calls"]["partial"] > 0
        [image] = result.outputs["8"]["images"]
        pictures.append(Image.open(io.BytesIO(client.image(**image))))
    assert [picture.size for picture in pictures] == [(256, 192)] * 2
    assert ImageChops.difference(*pictures).getbbox()               # the prompt matters


def test_load_pixart_lacks_nothing_but_its_files(client, server):
    """As it is, with the names it asks for: it goes as far as reading the files, and is refused by their names without them."""
    prompt = to_prompt(workflow_of("load_pixart"), client.object_info())
    assert "could not be read" in client.run(prompt | {"only": {"class_type": "PreviewAny", "inputs": {"source": ["2", 0]}}}).error
    names = [name.split("/")[1] for name in UNREADABLE]
    for content in prompt.values():
        content["inputs"] = {key: f"no {value}" if value in names else value for key, value in content["inputs"].items()}
    with pytest.raises(PromptRejected) as rejection:
        client.run(prompt)
    complaints = str(rejection.value).splitlines()[1:]
    assert len(complaints) == len(names) and all(any(f"no {name}" in line for line in complaints) for name in names)


def test_the_template_browser_has_them_with_a_picture_each(server, page):
    served = page.request.get(f"{server.url}/api/workflow_templates").json()[PROJECT.name]
    assert sorted(served) == sorted(WORKFLOWS)
    for name in served:
        answer = page.request.get(f"{server.url}/api/workflow_templates/{PROJECT.name}/{name}.jpg")
        assert answer.ok and Image.open(io.BytesIO(answer.body())).format == "JPEG"


@pytest.mark.parametrize("name", WORKFLOWS)
def test_it_has_a_note_and_says_nothing_about_this_machine(name):
    text = WORKFLOWS[name].read_text(encoding="utf-8")
    assert "/home/" not in text and "\\\\" not in text and str(PROJECT) not in text
    [note] = [node for node in json.loads(text)["nodes"] if node["type"] in REMARKS]
    assert len(note["widgets_values"][0]) > 80
