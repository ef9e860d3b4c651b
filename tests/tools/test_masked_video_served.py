"""A mask for each frame of a video, from a graph to the server's answer, on a tiny Wan and a tiny LTX-Video."""

import pytest
import torch
from safetensors.torch import load_file

from tools.templates.server import server_with_stand_ins

STEPS, SIDE, FRAMES = 6, 64, 3
GRID = 4                                # tokens in a row and in a column of both tiny models
SQUARE = SIDE // GRID                   # one token


def graph(builder: str, *, cached: bool, masked: bool) -> dict:
    """A square that moves to the right by its own width from frame to frame."""
    nodes = {
        "load": ("StandInModel", {"builder": builder, "file": "tiny.safetensors"}),
        "positive": ("StandInConditioning", {"builder": builder, "negative": False, "reference": False}),
        "negative": ("StandInConditioning", {"builder": builder, "negative": True, "reference": False}),
        "latent": ("StandInLatent", {"builder": builder}),
        "sample": ("KSampler", {"model": ["load", 0], "positive": ["positive", 0], "negative": ["negative", 0],
                                "latent_image": ["latent", 0], "seed": 3, "steps": STEPS, "cfg": 3.0, "sampler_name": "euler",
                                "scheduler": "simple", "denoise": 1.0}),
        "save": ("SaveLatent", {"samples": ["sample", 0], "filename_prefix": "video"})}
    if cached:
        nodes["cache"] = "ToCaCache", {"model": ["load", 0], "preset": "custom", "level": "stack", "cycle": 4}
        nodes["sample"][1]["model"] = ["cache", 0]
    if masked:
        nodes |= {"black": ("SolidMask", {"value": 0.0, "width": SIDE, "height": SIDE}),
                  "white": ("SolidMask", {"value": 1.0, "width": SQUARE, "height": SQUARE})}
        for frame in range(FRAMES):
            nodes[f"mask {frame}"] = "MaskComposite", {"destination": ["black", 0], "source": ["white", 0], "x": SQUARE * frame,
                                                       "y": SQUARE, "operation": "add"}
            nodes[f"image {frame}"] = "MaskToImage", {"mask": [f"mask {frame}", 0]}
        nodes |= {"two": ("ImageBatch", {"image1": ["image 0", 0], "image2": ["image 1", 0]}),
                  "three": ("ImageBatch", {"image1": ["two", 0], "image2": ["image 2", 0]}),
                  "masks": ("ImageToMask", {"image": ["three", 0], "channel": "red"}),
                  "masked": ("ToCaTokenMask", {"model": ["cache", 0], "mask": ["masks", 0], "dilation": 0})}
        nodes["sample"][1]["model"] = ["masked", 0]
    return {name: {"class_type": kind, "inputs": inputs} for name, (kind, inputs) in nodes.items()}


@pytest.fixture(scope="module", params=["wan_t2v", "ltxv"])
def runs(request):
    """name -> (latent (C, 3, rows, columns), the run's report or None)."""
    found = {}
    with server_with_stand_ins() as server:
        for name, which in (("plain", {"cached": False, "masked": False}), ("cached", {"cached": True, "masked": False}),
                            ("masked", {"cached": True, "masked": True})):
            result = server.client().run(graph(request.param, **which), timeout=240)
            assert result.error is None
            [saved] = result.outputs["save"]["latents"]
            latent = load_file(server.folder / "output" / saved["subfolder"] / saved["filename"])["latent_tensor"]
            found[name] = latent[0], next(iter(result.of_type("toca.report")), None)
    return found


def inside(latent):
    chosen, side = torch.zeros(latent.shape[1:], dtype=torch.bool), latent.shape[-1] // GRID
    for frame in range(FRAMES):
        chosen[frame, side:2 * side, side * frame:side * (frame + 1)] = True
    return chosen


def test_one_token_of_each_frame_is_computed_at_every_step(runs):
    _, report = runs["masked"]
    kinds = [step["kind"] for step in report["steps"]]
    shares = [step["fresh_share"].get("blocks") for step in report["steps"] if step["kind"] == "partial"]
    assert kinds == ["full", "partial", "partial", "partial", "full", "partial"] and report["note"] == ""
    assert shares == [pytest.approx(1 / GRID ** 2, abs=1e-6)] * 4


def test_outside_it_is_the_run_without_the_mask(runs):
    """Within what the forecast errs by; inside it is nearer to the plain run."""
    def apart(one, other, where):
        return (runs[one][0] - runs[other][0]).square().mean(0)[where].mean().sqrt()

    chosen = inside(runs["plain"][0])
    assert apart("masked", "cached", ~chosen) < apart("cached", "plain", ~chosen)
    assert apart("masked", "plain", chosen) < apart("cached", "plain", chosen)
