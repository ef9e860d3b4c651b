"""Every workflow that comes with the pack, opened and run as a user would."""

import io
import json
import re

import pytest
import torch
from PIL import Image

from tests.web.settling import settle
from tools.pack import load_host, pack_module
from tools.server import PROJECT, PromptRejected
from tools.workflow import REMARKS, to_prompt

WORKFLOWS = {file.stem: file for file in sorted((PROJECT / "workflows").glob("*.json"))}
DEMOS = [name for name in WORKFLOWS if name.startswith("demo_")]
DIT = "diffusion_models/DiT-XL-2-256x256.pt"
OPEN_SORA = ("diffusion_models/OpenSora-STDiT-v3.safetensors", "text_encoders/t5xxl_fp16.safetensors",
             "vae/OpenSora-VAE-v1.2.safetensors")
ASKED = {                           # the files that a workflow asks for
    "load_pixart": ("diffusion_models/PixArt-XL-2-512x512.pth", "text_encoders/t5xxl_fp16.safetensors",
                    "vae/vae-ft-mse-840000-ema-pruned.safetensors"),
    "load_open_sora": OPEN_SORA,
    "load_open_sora_image_to_video": OPEN_SORA,
    "flux_dev": ("diffusion_models/flux1-dev.safetensors", "text_encoders/clip_l.safetensors", "text_encoders/t5xxl_fp16.safetensors",
                 "vae/ae.safetensors"),
    "flux_dev_ratios": ("diffusion_models/flux1-dev.safetensors", "text_encoders/clip_l.safetensors",
                        "text_encoders/t5xxl_fp16.safetensors", "vae/ae.safetensors"),
    "qwen_image": ("diffusion_models/qwen_image_fp8_e4m3fn.safetensors", "text_encoders/qwen_2.5_vl_7b_fp8_scaled.safetensors",
                   "vae/qwen_image_vae.safetensors"),
    "z_image_turbo": ("diffusion_models/z_image_turbo_bf16.safetensors", "text_encoders/qwen_3_4b.safetensors", "vae/ae.safetensors"),
    "chroma": ("diffusion_models/Chroma1-HD-fp8mixed.safetensors", "text_encoders/t5xxl_fp8_e4m3fn_scaled.safetensors",
               "vae/ae.safetensors"),
    "sd35_large": ("checkpoints/sd3.5_large_fp8_scaled.safetensors",),
    "sdxl": ("checkpoints/sd_xl_base_1.0.safetensors",),
    "flux2_dev": ("diffusion_models/flux2_dev_fp8mixed.safetensors", "text_encoders/mistral_3_small_flux2_fp8.safetensors",
                  "vae/flux2-vae.safetensors"),
    "qwen_image_edit": ("diffusion_models/qwen_image_edit_2511_fp8mixed.safetensors",
                        "text_encoders/qwen_2.5_vl_7b_fp8_scaled.safetensors", "vae/qwen_image_vae.safetensors"),
    "hunyuan_video_15": ("diffusion_models/hunyuanvideo1.5_720p_t2v_fp16.safetensors",
                         "text_encoders/qwen_2.5_vl_7b_fp8_scaled.safetensors", "text_encoders/byt5_small_glyphxl_fp16.safetensors",
                         "vae/hunyuanvideo15_vae_fp16.safetensors"),
    "hunyuan_video_15_ratios": ("diffusion_models/hunyuanvideo1.5_720p_t2v_fp16.safetensors",
                                "text_encoders/qwen_2.5_vl_7b_fp8_scaled.safetensors",
                                "text_encoders/byt5_small_glyphxl_fp16.safetensors", "vae/hunyuanvideo15_vae_fp16.safetensors"),
    "ltx2": ("checkpoints/ltx-2-19b-dev-fp8.safetensors", "text_encoders/gemma_3_12B_it_fp4_mixed.safetensors"),
    "wan22_text_to_video": ("diffusion_models/wan2.2_t2v_high_noise_14B_fp8_scaled.safetensors",
                            "diffusion_models/wan2.2_t2v_low_noise_14B_fp8_scaled.safetensors",
                            "text_encoders/umt5_xxl_fp8_e4m3fn_scaled.safetensors", "vae/wan_2.1_vae.safetensors"),
}
SHOWN = {"demo_compare": (256, 322)}                    # pixels of what a demo draws, where it is not the model's picture
STEPS = 10                          # divides 1000, or ddim_uniform makes one more

# One picture in place of four, unless the values say otherwise.
SET_SAMPLERS = """(values) => {
    for (const node of app.graph.nodes.filter((node) => ["EmptyLatentImage", "KSampler", "ToCaCalibrate"].includes(node.type)))
        for (const widget of node.widgets) widget.value = { batch_size: 1, ...values }[widget.name] ?? widget.value;
}"""
# As many nodes as the workflow has, each with a size in the page, and two pictures of them drawn since.
DRAWN = """(count) => {
    const vue = app.extensionManager.setting.get("Comfy.VueNodes.Enabled");
    const sizes = vue ? [...document.querySelectorAll("[data-node-id]")].map((element) => element.getBoundingClientRect().width)
                      : app.graph.nodes.map((node) => node.boundingRect[2]);
    const drawn = new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(() => resolve(true))));
    return sizes.length === count && sizes.every(Boolean) && drawn;
}"""
BOXES = {
    "canvas": "() => app.graph.nodes.map((node) => [node.title, ...node.boundingRect])",
    "vue": """() => [...document.querySelectorAll("[data-node-id]")].map((element) => {
        const box = element.getBoundingClientRect();
        return [app.graph.getNodeById(element.dataset.nodeId).title, box.x, box.y, box.width, box.height];
    })""",
}

# Of every link the nodes that more than a little of its line lies behind, as Vue lays them out.
BEHIND = """() => {
    const { scale, offset } = app.canvas.ds, canvas = app.canvas.canvas.getBoundingClientRect(), behind = [];
    const boxes = [...document.querySelectorAll("[data-node-id].lg-node")].map((element) => {
        const box = element.getBoundingClientRect();
        return [element.dataset.nodeId, (box.left - canvas.left) / scale - offset[0], (box.top - canvas.top) / scale - offset[1],
            box.width / scale, box.height / scale];
    });
    for (const link of app.graph.links.values()) {
        const [from, to] = [app.graph.getNodeById(link.origin_id), app.graph.getNodeById(link.target_id)];
        const [start, end] = [from.getOutputPos(link.origin_slot), to.getInputPos(link.target_slot)];
        const bend = Math.hypot(end[0] - start[0], end[1] - start[1]) / 4;
        const along = (t, axis) => (1 - t) ** 3 * start[axis] + 3 * (1 - t) ** 2 * t * (start[axis] + (axis ? 0 : bend))
            + 3 * (1 - t) * t * t * (end[axis] - (axis ? 0 : bend)) + t ** 3 * end[axis];
        for (const [id, x, y, width, height] of boxes) {
            const hidden = Array.from({ length: 97 }, (_, step) => 0.02 + step / 100).filter((t) =>
                along(t, 0) > x + 3 && along(t, 0) < x + width - 3 && along(t, 1) > y + 3 && along(t, 1) < y + height - 3);
            if (hidden.length > 3) behind.push(`${from.title} -> ${to.title} behind ${app.graph.getNodeById(id).title}`);
        }
    }
    return behind;
}"""
DIALOGS = """() => {
    const found = () => [...document.querySelectorAll("[role=dialog]")].map((dialog) => dialog.innerText);
    window.dialogs = found();
    const observer = new MutationObserver(() => dialogs.push(...found()));
    observer.observe(document.body, { childList: true, subtree: true });
    testing.signal.addEventListener("abort", () => observer.disconnect());
}"""


@pytest.fixture(scope="module", autouse=True)
def stand_ins(server, fresh_pages, pictures):
    """Files under the names that the workflows ask for: a small DiT with random weights, the others are no models."""
    models = server.folder / "models"
    files = [models / name for name in sorted({name for names in ASKED.values() for name in names})]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"stand-in")
    torch.save(small_dit(), models / DIT)
    yield
    for file in (*files, models / DIT):
        file.unlink()


@pytest.fixture(scope="module")
def object_info(server, stand_ins):
    return server.client().object_info()


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
    """Open a workflow in the front end, and wait until it has drawn it."""
    workflow = workflow_of(name)
    page.evaluate("(workflow) => app.loadGraphData(workflow)", workflow)
    page.wait_for_function(DRAWN, arg=len(workflow["nodes"]))
    return workflow


@pytest.mark.parametrize("renderer", BOXES)
def test_they_open_without_complaint_and_can_be_read_at_a_glance(open_page, object_info, renderer):
    """Vue also tells what lies over a wire: no node that has nothing to do with it."""
    page = open_page(renderer)
    page.evaluate(DIALOGS)
    registered = set(page.evaluate("() => Object.keys(LiteGraph.registered_node_types)"))
    for name in WORKFLOWS:
        workflow = load(page, name)
        assert {node["type"] for node in workflow["nodes"]} <= registered, name
        assert page.evaluate("() => app.graph.nodes.filter((node) => node.has_errors).map((node) => node.type)") == [], name
        assert widget_values(json.loads(page.evaluate("() => JSON.stringify(app.graph.serialize())"))) == widget_values(workflow), name
        assert browser_prompt(page) == to_prompt(workflow, object_info), name
        assert overlaps(page.evaluate(BOXES[renderer]), len(workflow["nodes"])) == [], name
        if renderer == "vue":
            page.evaluate("() => app.extensionManager.command.execute('Comfy.Canvas.FitView')")
            settle(page)
            assert page.evaluate(BEHIND) == [], name
        assert page.complaints == [], name
    page.wait_for_timeout(1500)         # by then a dialog that it should not show would be there
    assert page.evaluate("() => dialogs") == []


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
def test_a_demo_runs_from_the_browser(page, run_graph, client, name):
    load(page, name)
    # A seed of its own, or the run comes from the server's cache; what each block is sensitive to takes as long as all else.
    page.evaluate(SET_SAMPLERS, {"steps": STEPS, "seed": 12, "sensitivity": False})
    came = run_graph(page)
    sizes = [[Image.open(io.BytesIO(client.image(**image))).size for image in output["images"]]
             for output in came["outputs"].values() if output.get("images")]
    assert sizes.count([SHOWN.get(name, (64, 64))]) == 1        # beside pictures of what was measured
    assert [len(report["steps"]) for report in came["reports"]] == ([] if name == "demo_baseline" else [STEPS])
    assert page.complaints == []


def test_load_dit_samples(client, object_info):
    prompt = without_vae(to_prompt(workflow_of("load_dit"), object_info))
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


def prompt_with(name, object_info, files) -> tuple[dict, dict]:
    """A workflow's prompt with other files, {name: name}, and its inputs by type of node (of several nodes, the last one)."""
    prompt = to_prompt(workflow_of(name), object_info)
    for content in prompt.values():
        content["inputs"] |= {key: files[value] for key, value in content["inputs"].items() if str(value) in files}
    return prompt, {content["class_type"]: content["inputs"] for content in prompt.values()}


def test_an_unreadable_file_is_named(client, object_info):
    prompt = to_prompt(workflow_of("load_pixart"), object_info)
    assert "could not be read" in client.run(prompt | {"only": {"class_type": "PreviewAny", "inputs": {"source": ["2", 0]}}}).error


@pytest.mark.parametrize("name", ASKED)
def test_it_lacks_nothing_but_its_files(client, object_info, name):
    """As it is, with the names it asks for; without those files it is refused, and for nothing else."""
    names = [file.split("/")[1] for file in ASKED[name]]
    prompt, _ = prompt_with(name, object_info, {asked: f"no {asked}" for asked in names})
    with pytest.raises(PromptRejected) as rejection:
        client.run(prompt)
    complaints = str(rejection.value).splitlines()[1:]
    assert all(any(f"no {asked}" in line for asked in names) for line in complaints)
    assert all(any(f"no {asked}" in line for line in complaints) for asked in names)


def test_the_template_browser_has_them_with_a_picture_each(server, page):
    served = page.request.get(f"{server.url}/api/workflow_templates").json()[PROJECT.name]
    assert sorted(served) == sorted(WORKFLOWS)
    listed = page.evaluate("async () => (await app.api.getWorkflowTemplates())")[PROJECT.name]
    assert listed[:2] == ["demo_auto", "demo_compare"] and sorted(listed[:len(DEMOS)]) == sorted(DEMOS)
    for name in served:
        answer = page.request.get(f"{server.url}/api/workflow_templates/{PROJECT.name}/{name}.jpg")
        assert answer.ok and Image.open(io.BytesIO(answer.body())).format == "JPEG"


@pytest.mark.parametrize("name", [*ASKED, "load_dit"])
def test_it_says_where_its_files_are(name):
    """`properties.models`, by which ComfyUI offers the downloads: every file that it can offer, by its folder; the note has others."""
    nodes = workflow_of(name)["nodes"]
    [note] = [node["widgets_values"][0] for node in nodes if node["type"] in REMARKS]
    offered = [model for node in nodes for model in node["properties"].get("models", [])]
    asked = set(ASKED.get(name, (DIT, "vae/vae-ft-mse-840000-ema-pruned.safetensors")))
    assert asked - {f"{model['directory']}/{model['name']}" for model in offered} == {file for file in asked if file.split("/")[1] in note}
    assert all(model["url"].startswith("https://") and model["url"].endswith("/" + model["name"]) for model in offered)


@pytest.mark.parametrize("name", WORKFLOWS)
def test_it_has_a_note_and_says_nothing_about_this_machine(name):
    text = WORKFLOWS[name].read_text(encoding="utf-8")
    assert "/home/" not in text and "\\\\" not in text and str(PROJECT) not in text
    [note] = [node for node in json.loads(text)["nodes"] if node["type"] in REMARKS]
    text = note["widgets_values"][0]
    assert len(text) > 80 and text.startswith("### ")
    assert name in DEMOS or len(re.findall(r"[.!?](?:\s|$)", re.sub(r"\(https[^)]*\)", "", text))) == 2, text
