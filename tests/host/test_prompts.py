"""Prompts as people and scripts send them, through the server: the cache switched off, inputs left out, inputs of another version."""

import asyncio
import inspect
import json
import math
import urllib.request

import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tools.pack import pack_module
from tools.server import PROJECT
from tools.workflow import to_prompt

TEXT = "PreviewAny"


@pytest.fixture(scope="module")
def report_prompt(server):
    """report_prompt(**inputs of ToCa Cache) -> the example workflow of the report as a prompt, short, with what its nodes give shown and
    saved; without=True leaves ToCa Cache out, as bypassing it does."""
    info = server.client().object_info()

    def call(without=False, **changes):
        prompt = to_prompt(json.loads((PROJECT / "workflows/demo_report.json").read_text(encoding="utf-8")), info)
        node = {content["class_type"]: name for name, content in prompt.items()}
        prompt[node["KSampler"]]["inputs"].update(steps=6)
        prompt[node["EmptyLatentImage"]]["inputs"].update(batch_size=2, width=32, height=32)
        prompt[node["ToCaCache"]]["inputs"].update(changes)
        report, maps = node["ToCaReport"], node["ToCaTokenMap"]
        prompt |= {**{name: {"class_type": TEXT, "inputs": {"source": [report, slot]}} for name, slot in (("text", 1), ("json", 2))},
                   **{name: {"class_type": "SaveImage", "inputs": {"images": source, "filename_prefix": name}} for name, source in (
                       ("pictures", [node["VAEDecode"], 0]), ("report", [report, 3]), ("map", [maps, 0]), ("overlay", [maps, 1]))}}
        if without:
            cache = node["ToCaCache"]
            for content in prompt.values():
                content["inputs"] = {name: prompt[cache]["inputs"]["model"] if value == [cache, 0] else value
                                     for name, value in content["inputs"].items()}
            del prompt[cache]
        return prompt
    return call


def told(result):
    """-> (ToCa Report's text, its JSON) of a prompt that went through."""
    assert result.error is None, result.error
    return result.outputs["text"]["text"][0], json.loads(result.outputs["json"]["text"][0])


def files(client, result, node):
    return [client.image(**image) for image in result.outputs[node]["images"]]


@pytest.mark.smoke
@pytest.mark.parametrize("off", [{"enable": False}, {"without": True}], ids=["off", "bypassed"])
def test_without_the_cache_the_prompt_goes_through(client, report_prompt, off):
    """The nodes that tell of it say that there was none, and let the pictures pass."""
    result = client.run(report_prompt(**off))
    text, data = told(result)
    assert "no cache on this run: the model carries no ToCa Cache" in text and data == {"runs": [], "reason": text}
    assert files(client, result, "overlay") == files(client, result, "pictures") and len(result.outputs["pictures"]["images"]) == 2
    assert len(result.outputs["map"]["images"]) == 2 and len(result.outputs["report"]["images"]) == 1
    assert not result.of_type("toca.report")


def test_off_and_on_again_between_prompts(client, report_prompt):
    """Each report is of its own prompt."""
    for steps, enable in ((6, True), (7, False), (8, True)):
        prompt = report_prompt(enable=enable)
        [sampler] = [content for content in prompt.values() if content["class_type"] == "KSampler"]
        sampler["inputs"]["steps"] = steps
        text, data = told(client.run(prompt))
        assert [len(run["steps"]) for run in data["runs"]] == ([steps] if enable else [])
        assert (data["reason"] is None) == enable and ("no cache on this run" in text) != enable


def test_a_map_of_errors_where_none_were_measured_lets_the_pictures_pass(client, report_prompt):
    result = client.run(report_prompt(preset="custom", level="module"))
    text, _ = told(result)
    assert "level module" in text and files(client, result, "overlay") == files(client, result, "pictures")
    assert len(result.outputs["map"]["images"]) == 2


# ---- numbers that are not finite ----


@pytest.fixture
def broken_model(server):
    """The name of a model whose predictions are NaN, as an overflow makes them."""
    source, path = PROJECT / "demo/shapes_dit.safetensors", server.folder / "models" / "diffusion_models" / "broken_dit.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = load_file(source)
    weights["final_layer.linear.weight"] = weights["final_layer.linear.weight"] * math.nan
    with safe_open(source, "pt") as file:
        save_file(weights, path, file.metadata())
    yield path.name
    path.unlink()


def strict(text):
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def read(server, page):
    with urllib.request.urlopen(server.url + page) as answer:
        return answer.read().decode()


def test_a_run_of_numbers_that_are_not_finite_is_told_in_json(server, client, report_prompt, broken_model):
    """Every message, the nodes' outputs, and what the host keeps of them; the pictures go through."""
    prompt = report_prompt(preset="custom", level="stack", tolerance=100.0)
    node = {content["class_type"]: name for name, content in prompt.items()}
    prompt[node["ToCaLoadDiT"]]["inputs"]["model_name"] = broken_model
    decoded = [node["VAEDecode"], 0]
    prompt["compare"] = {"class_type": "ToCaCompare", "inputs": {"baseline": decoded, "accelerated": decoded}}
    result = client.run(prompt)
    text, data = told(result)
    assert len(data["runs"]) == 1 and "are not finite" in text and len(result.outputs["overlay"]["images"]) == 2
    assert [figure["psnr"] for figure in result.outputs["compare"]["figures"]] == [None, None]
    for event in result.events:
        strict(json.dumps(event.data))
    assert result.of_type("toca.step") and result.of_type("toca.report")
    strict(result.outputs["json"]["text"][0])
    for page in (f"/history/{result.prompt_id}", f"/api/jobs/{result.prompt_id}"):
        strict(read(server, page))
    [job] = [job for job in json.loads(read(server, "/api/jobs"))["jobs"] if job["id"] == result.prompt_id]
    strict(json.dumps(job))                                         # others are of tests that may ask for anything


# ---- inputs left out, and of other versions ----


def short(**cache):
    """A prompt that names only what has no default."""
    inputs = {
        "load": ("ToCaLoadDiT", {"model_name": "shapes_dit.safetensors"}), "label": ("ToCaDiTClass", {"model": ["load", 0]}),
        "cache": ("ToCaCache", {"model": ["load", 0], **cache}),
        "latent": ("EmptyLatentImage", {"width": 32, "height": 32, "batch_size": 1}),
        "sample": ("KSampler", {"model": ["cache", 0], "positive": ["label", 0], "negative": ["label", 1], "latent_image": ["latent", 0],
                                "seed": 1, "steps": 4, "cfg": 2.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0}),
        "vae": ("VAELoader", {"vae_name": "pixel_space"}), "decode": ("VAEDecode", {"samples": ["sample", 0], "vae": ["vae", 0]}),
        "mask": ("SolidMask", {"value": 1.0, "width": 32, "height": 32}),
        "masked": ("ToCaTokenMask", {"model": ["cache", 0], "mask": ["mask", 0]}),
        "first": ("ToCaRegionPriority", {"model": ["masked", 0], "mask": ["mask", 0]}),
        "report": ("ToCaReport", {"model": ["first", 0], "after": ["decode", 0]}),
        "map": ("ToCaTokenMap", {"model": ["cache", 0], "images": ["decode", 0]}),
        "compare": ("ToCaCompare", {"baseline": ["decode", 0], "accelerated": ["decode", 0]}),
        "latents": ("ToCaOpenSoraLatent", {}), "ratios": ("ToCaRatios", {}),
        "frames": (TEXT, {"source": ["latents", 3]}), "text": (TEXT, {"source": ["ratios", 0]})}
    return {name: {"class_type": kind, "inputs": given} for name, (kind, given) in inputs.items()}


def settings(result):
    assert result.error is None, result.error
    [report] = result.of_type("toca.report")
    return report["preset"], report["settings"]


@pytest.mark.smoke
def test_a_prompt_that_names_only_what_has_no_default(client):
    """What it leaves out is as in a prompt that names everything as it comes."""
    defaults = pack_module("nodes.toca_cache").defaults()
    assert defaults["mlp_share"] == 1.6
    for given in ({}, {"enable": True, "preset": "auto"}, {"preset": "custom"}):
        result = client.run(short(**given))
        assert settings(result) == settings(client.run(short(**{**defaults, "verbose": True, **given})))
        assert result.outputs["compare"]["figures"][0]["psnr"] == 99.0 and len(result.outputs["map"]["images"]) == 1


def test_inputs_of_another_version_do_not_stop_a_prompt(client):
    """Named, and linked, which the host hands on whatever the node knows."""
    plain = client.run(short(preset="custom"))
    prompt = short(preset="custom", refreshing=0.5)
    for content in prompt.values():
        if content["class_type"].startswith("ToCa"):
            content["inputs"] |= {"of_tomorrow": 3, "linked_tomorrow": ["vae", 0]}
    assert settings(client.run(prompt)) == settings(plain)


@pytest.fixture(scope="module")
def nodes():
    return asyncio.run(pack_module("nodes.extension").ToCaExtension().get_node_list())


def test_whatever_has_a_default_may_be_left_out(nodes):
    """Each by the default that its widget shows; their order is that of saved workflows."""
    for node in nodes:
        given = inspect.signature(node.execute).parameters
        assert inspect.Parameter.VAR_KEYWORD in {parameter.kind for parameter in given.values()}, node
        for entry in node.define_schema().inputs:
            default = getattr(entry, "default", None)
            assert entry.optional or default is None, (node, entry.id)
            if default is not None and entry.id in given:
                assert given[entry.id].default == default, (node, entry.id)


def test_widgets_keep_their_order(nodes):
    """The host shows inputs that may be left out after the others; where one without a default came later, widgets would change places."""
    for node in nodes:
        widgets = [entry for entry in node.define_schema().inputs if hasattr(entry, "default")]
        assert widgets == sorted(widgets, key=lambda entry: bool(entry.optional)), node
