"""The workflows of the models that a small file can stand in for, run to the picture or the video through the API."""

import io

import av
import pytest
import torch
from PIL import Image, ImageChops

from tests.web.test_workflows import ASKED, STEPS, prompt_with
from tools.pack import load_host, pack_module
from tools.tiny_files import FILES as TINY
from tools.tiny_files import write
from tools.tiny_text import tiny_clip
from tools.tiny_vae import tiny_vae

from .conftest import PICTURES

SMALL = {                           # in place of what Open-Sora's and FLUX's workflows ask for
    "OpenSora-STDiT-v3.safetensors": "tiny_open_sora.safetensors", "OpenSora-VAE-v1.2.safetensors": "tiny_open_sora_vae.safetensors",
    "flux1-dev.safetensors": "tiny_flux.safetensors", "ae.safetensors": "tiny_flux_vae.pt", "t5xxl_fp16.safetensors": "tiny_clip.pt"}


@pytest.fixture(scope="module")
def object_info(server):
    return server.client().object_info()


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
    asked = ASKED["load_pixart"]
    pixart, text, vae = (server.folder / "models" / file.split("/")[0] / f"small_{index}.pt" for index, file in enumerate(asked))
    for file in (pixart, text, vae):
        file.parent.mkdir(parents=True, exist_ok=True)
    torch.save(small_pixart(), pixart)
    tiny_clip(text)
    tiny_vae(vae)
    yield {file.split("/")[1]: other.name for file, other in zip(asked, (pixart, text, vae), strict=True)}
    for file in (pixart, text, vae):
        file.unlink()


def test_load_pixart_makes_a_picture(client, object_info, small_files):
    """From the prompt to the saved picture; in place of T5-XXL the smallest text encoder that CLIPLoader takes."""
    prompt, inputs = prompt_with("load_pixart", object_info, small_files)
    inputs["KSampler"]["steps"] = STEPS
    inputs["EmptyLatentImage"].update(width=256, height=192)
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


@pytest.fixture(scope="module")
def tiny_models(server):
    """What `python run.py tiny` writes, in the server's models folder."""
    files = write(server.folder / "models")
    yield
    for file in files:
        file.unlink()


@pytest.mark.parametrize("name, changed", [
    ("load_open_sora", ("ToCaOpenSoraConditioning", "text", ("a fox in the snow", "a ship at sea"))),
    ("load_open_sora_image_to_video", ("LoadImage", "image", PICTURES)),
])
def test_open_sora_makes_a_video(client, object_info, tiny_models, pictures, name, changed):
    """From the prompt, or the picture, to the saved file; in place of T5-XXL the smallest text encoder that CLIPLoader takes."""
    prompt, inputs = prompt_with(name, object_info, SMALL)
    inputs["ToCaCache"]["preset"] = "paper"
    inputs["ToCaOpenSoraScheduler"]["steps"] = STEPS
    inputs["ToCaOpenSoraLatent"].update(resolution="144p", frames=34)
    node, key, values = changed
    first_frames = []
    for value in values:
        inputs[node][key] = value
        result = client.run(prompt)
        assert result.error is None
        assert_published(result, "STDiT3")
        [[saved]] = [output["images"] for output in result.outputs.values() if output.get("animated")]
        with av.open(io.BytesIO(client.image(**saved))) as file:
            frames = [frame.to_image() for frame in file.decode(video=0)]
            assert file.streams.video[0].average_rate == 24
        assert [frame.size for frame in frames] == [(256, 144)] * 34
        assert ImageChops.difference(frames[0], frames[-1]).getbbox()
        first_frames.append(frames[0])
    assert max(high for _, high in ImageChops.difference(*first_frames).getextrema()) > 16       # what was changed matters


def test_flux_dev_makes_a_picture(client, object_info, tiny_models):
    """From the prompt to the saved picture. DualCLIPLoader builds a T5-XXL whatever the file, so CLIPLoader with a CLIP-L stands in."""
    prompt, inputs = prompt_with("flux_dev", object_info, SMALL)
    inputs["ToCaCache"]["preset"] = "paper"
    [clip] = [content for content in prompt.values() if content["class_type"] == "DualCLIPLoader"]
    clip |= {"class_type": "CLIPLoader", "inputs": {"clip_name": SMALL["t5xxl_fp16.safetensors"], "type": "stable_diffusion"}}
    inputs["KSampler"]["steps"] = STEPS
    inputs["EmptySD3LatentImage"].update(width=256, height=192)
    pictures = []
    for text in ("a small cactus", "a large whale"):
        inputs["CLIPTextEncode"]["text"] = text
        result = client.run(prompt)
        assert result.error is None
        assert_published(result, "Flux")
        [[saved]] = [output["images"] for output in result.outputs.values() if "images" in output]
        pictures.append(Image.open(io.BytesIO(client.image(**saved))))
    assert [picture.size for picture in pictures] == [(256, 192)] * 2
    assert ImageChops.difference(*pictures).getbbox()


def assert_published(result, model):
    """Preset paper, since auto goes by the error, which random weights make large.

    Of 10 steps Open-Sora and FLUX compute the first three and the seventh in full; the others are partial.
    """
    [report] = result.of_type("toca.report")
    assert report["preset"] == "paper" and report["model"] == model
    kinds = [step["kind"] for step in report["steps"]]
    assert kinds == ["full"] * 3 + ["partial"] * 3 + ["full"] + ["partial"] * 3
    assert all(max(step["fresh_share"].values()) > 0 for step in report["steps"] if step["kind"] == "partial")
    assert report["flops"] < 0.8 * report["plain_flops"]


def test_what_run_py_tiny_writes_is_all_in_use():
    assert {name.split("/")[1] for name in TINY} == set(SMALL.values())
