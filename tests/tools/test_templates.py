"""`run.py templates`, over a few workflows made by hand, through the real front end and the real server."""

import json
import tempfile

import pytest

from tools.browser import chromium
from tools.server import PROJECT
from tools.templates.rewrite import ENLARGING

NEGATIVE, REROUTED, BYPASSED, MUTED = 4, 10, 4, 2
# node: its outputs
OUTPUTS = {"UNETLoader": ["MODEL"], "LoraLoaderModelOnly": ["MODEL"], "CLIPLoader": ["CLIP"], "CLIPTextEncode": ["CONDITIONING"],
           "EmptySD3LatentImage": ["LATENT"], "KSampler": ["LATENT"], "VAELoader": ["VAE"], "VAEDecode": ["IMAGE"], "SaveImage": [],
           "GeminiImageNode": ["IMAGE", "STRING"], "Reroute": ["*"]}
SAMPLER = [7, "fixed", 20, 1.0, "euler", "simple", 1.0]


def graph(*nodes):
    """What a saved workflow and a subgraph have in common. A node: (id, type, widgets, {input: (node, type)}, mode)."""
    links, made = [], []
    for identity, kind, widgets, inputs, *mode in nodes:
        entries = []
        for slot, (name, (source, type)) in enumerate(inputs.items()):
            links.append({"id": len(links) + 1, "origin_id": source, "origin_slot": 0, "target_id": identity, "target_slot": slot,
                          "type": type})
            entries.append({"name": name, "type": type, "link": len(links)})
        made.append({"id": identity, "type": kind, "pos": [0, 0], "size": [200, 100], "flags": {}, "order": identity, "properties": {},
                     "mode": mode[0] if mode else 0, "widgets_values": widgets, "inputs": entries,
                     "outputs": [{"name": type, "type": type, "links": []} for type in OUTPUTS.get(kind, ["LATENT"])]})
    for link in links:
        for node in made:
            if node["id"] == link["origin_id"]:
                node["outputs"][0]["links"].append(link["id"])
    return {"nodes": made, "links": links, "groups": [], "config": {}, "extra": {}}


def saved(*nodes, subgraphs=()):
    content = graph(*nodes)
    keys = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
    content["links"] = [[link[key] for key in keys] for link in content["links"]]
    return {**content, "version": 0.4, "last_node_id": 20, "last_link_id": 40, "definitions": {"subgraphs": list(subgraphs)}}


def sampling(model: str, mode: int = 0):
    """The nodes up to the sampler, number 7, with a LoRA that is bypassed."""
    return ((1, "UNETLoader", [model, "default"], {}), (2, "CLIPLoader", ["a.safetensors", "flux2", "default"], {}),
            (3, "CLIPTextEncode", ["a cat"], {"clip": (2, "CLIP")}), (NEGATIVE, "CLIPTextEncode", [""], {"clip": (2, "CLIP")}),
            (5, "EmptySD3LatentImage", [1024, 1024, 4], {}),
            (6, "LoraLoaderModelOnly", ["b.safetensors", 1.0], {"model": (1, "MODEL")}, BYPASSED),
            (7, "KSampler", SAMPLER, {"model": (6, "MODEL"), "positive": (3, "CONDITIONING"), "negative": (NEGATIVE, "CONDITIONING"),
                                      "latent_image": (5, "LATENT")}, mode))


def decoding(sampler: int):
    return ((REROUTED, "Reroute", [], {"": (sampler, "LATENT")}), (8, "VAELoader", ["c.safetensors"], {}),
            (9, "VAEDecode", [], {"samples": (REROUTED, "LATENT"), "vae": (8, "VAE")}), (11, "SaveImage", ["x"], {"images": (9, "IMAGE")}))


def subgraph(identity: str, *nodes, output: int):
    """Its one output is that of a node."""
    content = graph(*nodes)
    content["links"].append({"id": 30, "origin_id": output, "origin_slot": 0, "target_id": -20, "target_slot": 0, "type": "LATENT"})
    next(node for node in content["nodes"] if node["id"] == output)["outputs"][0]["links"].append(30)
    side = {"bounding": [0, 0, 100, 100]}
    slot = {"id": "0b0c5f7e-1c5e-4a43-9a3c-111111111111", "name": "LATENT", "type": "LATENT", "linkIds": [30]}
    return {**content, "id": identity, "version": 1, "revision": 0, "name": "Inside", "inputs": [], "outputs": [slot], "widgets": [],
            "state": {"lastGroupId": 0, "lastNodeId": 20, "lastLinkId": 30, "lastRerouteId": 0},
            "inputNode": {"id": -10, **side}, "outputNode": {"id": -20, **side}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    inside = "6f9c2a4e-5d0b-4a8e-8d3f-222222222222"
    workflows = {
        "plain": saved(*sampling("flux1-schnell.safetensors"), *decoding(7)),
        "subgraph": saved((1, inside, [], {}), *decoding(1), subgraphs=[subgraph(inside, *sampling("z_image.safetensors"), output=7)]),
        "muted": saved(*sampling("flux1-dev.safetensors", MUTED)),
        "service": saved((1, "GeminiImageNode", ["a cat"], {}), (2, "SaveImage", ["x"], {"images": (1, "IMAGE")})),
        "unknown": saved(*sampling("of_a_kind_that_nobody_knows.safetensors"), *decoding(7)),
    }
    made = tmp_path_factory.mktemp("templates")
    for name, content in workflows.items():
        (made / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    (made / "index.json").write_text("[]", encoding="utf-8")
    return made


@pytest.fixture(scope="module")
def run_all(tmp_path_factory):
    """That of the command; nothing is known from earlier runs."""
    pytest.importorskip("playwright.sync_api", reason="the package playwright is not installed")
    if chromium() is None:
        pytest.skip("no Chromium on this machine")
    from tools.templates.run_templates import run_all

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("temp")))
        yield run_all


@pytest.fixture(scope="module")
def rows(folder, run_all):
    """By name, of one run over the folder."""
    found, count = run_all(folder, [], steps=4)
    assert count == 5
    return {row.template: row for row in found}


def test_what_only_asks_services_is_left_out(rows):
    assert rows.keys() == {"plain", "subgraph", "muted", "unknown"}


def test_a_template_runs_to_its_end_on_stand_ins(rows):
    row = rows["plain"]
    assert (row.classes, row.fits, row.accepted, row.ran, row.reason) == (["Flux"], True, True, True, "")
    [steps] = row.steps
    assert sum(steps.values()) == 4
    assert row.levels and row.passed_by == {}
    assert {"UNETLoader", "CLIPTextEncode"} <= set(row.replaced) and "LoraLoaderModelOnly" not in row.replaced


def test_a_subgraph_is_looked_into(rows):
    row = rows["subgraph"]
    assert (row.classes, row.fits) == (["NextDiT"], True)
    assert row.accepted is not None


def test_a_template_that_cannot_be_tried_says_why(rows):
    assert rows["muted"].reason == "its samplers are bypassed or muted"
    assert "of_a_kind_that_nobody_knows" in rows["unknown"].reason
    assert rows["muted"].ran is rows["unknown"].ran is None


def test_the_packs_own_workflows_for_large_models_run_to_their_end(run_all):
    """With the ToCa Cache that they have. The others run with files of their own, in tests/web/test_workflows.py."""
    folder = PROJECT / "workflows"
    names = [file.stem for file in folder.glob("*.json") if not file.stem.startswith(("demo_", "load_"))]
    rows, _ = run_all(folder, names, steps=4)
    assert {row.template for row in rows} == set(names) and len(names) > 8
    for row in rows:
        assert (row.fits, row.accepted, row.ran, row.reason) == (True, True, True, "") and row.passed_by.keys() <= set(ENLARGING), row
        caches = json.loads((folder / f"{row.template}.json").read_text(encoding="utf-8"))["nodes"]
        assert len(row.steps) == sum(node["type"] == "ToCaCache" for node in caches), row
        assert sum(sum(steps.values()) for steps in row.steps) == 4, row
