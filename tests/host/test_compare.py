"""ToCa Compare in the real host, through the server's API."""

import io
import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

from tools.pack import pack_module
from tools.server import PROJECT
from tools.workflow import to_prompt

TEXT, FIGURES = "PreviewAny", ("psnr", "ssim")


@pytest.fixture
def picture(server):
    """picture(name, 8-bit value or array) -> the name of a 64x48 picture in the server's input folder."""
    made = []

    def picture(name, value, size=(64, 48)):
        path = server.folder / "input" / name
        pixels = np.broadcast_to(np.asarray(value, dtype=np.uint8), (size[1], size[0], 3))
        Image.fromarray(np.ascontiguousarray(pixels)).save(path)
        made.append(path)
        return name

    yield picture
    for path in made:
        path.unlink()


def load(name):
    return {"class_type": "LoadImage", "inputs": {"image": name}}


def comparing(baseline, accelerated, other_seed=None, truth=None, **sources):
    """A prompt that compares outputs of the nodes in `sources` and shows the text; the difference is saved."""
    links = {"baseline": baseline, "accelerated": accelerated, "other_seed": other_seed, "truth": truth}
    links = {name: node for name, node in links.items() if node}
    return {**sources, "compare": {"class_type": "ToCaCompare", "inputs": {**{key: [node, 0] for key, node in links.items()}, "gain": 8.0}},
            "text": {"class_type": TEXT, "inputs": {"source": ["compare", 1]}},
            **{name: {"class_type": TEXT, "inputs": {"source": ["compare", 2 + slot]}} for slot, name in enumerate(FIGURES)},
            "save": {"class_type": "SaveImage", "inputs": {"images": ["compare", 0], "filename_prefix": "difference"}}}


def shown(result, node):
    assert result.error is None, result.error
    return result.outputs[node]["text"][0]


def test_a_known_error(client, picture):
    """Everywhere 51 of 255 apart: 20 log10(255 / 51) dB."""
    result = client.run(comparing("a", "b", a=load(picture("a.png", 100)), b=load(picture("b.png", 151))))
    assert float(shown(result, "psnr")) == pytest.approx(20 * math.log10(5), abs=1e-3)
    [figure] = result.outputs["compare"]["figures"]
    assert figure["picture"] == 1 and figure["psnr"] == pytest.approx(13.979, abs=1e-3)
    assert float(shown(result, "ssim")) == pytest.approx(figure["ssim"])
    assert "13.98" in shown(result, "text")


def test_identical_pictures_are_called_so(client, picture):
    result = client.run(comparing("a", "b", a=load(picture("a.png", 100)), b=load(picture("b.png", 100))))
    assert "identical" in shown(result, "text") and float(shown(result, "psnr")) == 99.0 and float(shown(result, "ssim")) == 1.0
    assert "Least alike" not in shown(result, "text")


def test_the_difference_picture_has_light_where_they_differ(client, picture):
    """A square 32 levels brighter, which with a gain of 8 is the lightest colour; enlarged 4 times, the legend below."""
    brighter = np.full((48, 64, 3), 100)
    brighter[8:24, 16:32] += 32
    result = client.run(comparing("a", "b", a=load(picture("a.png", 100)), b=load(picture("b.png", brighter))))
    drawn = np.asarray(Image.open(io.BytesIO(client.image(**result.outputs["save"]["images"][0]))).convert("RGB")).astype(int)
    assert drawn.shape[1] == 256 and drawn.shape[0] > 48 * 4
    light = drawn[:192, :, 1] > 200
    assert light[32:96, 64:128].all() and light.sum() == 64 * 64
    assert (drawn[192:].max(-1) < 60).any()                         # the legend's ink


def test_a_batch_says_which_picture_is_worst_and_what_another_seed_scores(client, picture):
    def batch(name, *values):
        names = [picture(f"{name}{index}.png", value) for index, value in enumerate(values)]
        nodes = {f"{name}{index}": load(file) for index, file in enumerate(names)}
        return {**nodes, name: {"class_type": "ImageBatch", "inputs": {"image1": [f"{name}0", 0], "image2": [f"{name}1", 0]}}}

    sources = {**batch("a", 100, 100), **batch("b", 110, 151), **batch("c", 200, 200)}
    result = client.run(comparing("a", "b", "c", **sources))
    first, second = (20 * math.log10(255 / apart) for apart in (10, 51))
    floor = 20 * math.log10(2.55)
    text = shown(result, "text")
    assert float(shown(result, "psnr")) == pytest.approx((first + second) / 2, abs=1e-3)
    rows = {line.split()[0]: line.split() for line in text.splitlines()}
    assert rows["1"][1] == f"{first:.2f}" and rows["2"][1] == rows["worst"][1] == f"{second:.2f}" and rows["1"][3] == f"{floor:.2f}"
    assert "Least alike: picture 2." in text and f"{(first + second) / 2 - floor:.1f} dB above another seed" in text
    output = result.outputs["compare"]
    assert [figure["picture"] for figure in output["figures"]] == [1, 2]
    assert len(output["a_images"]) == len(output["b_images"]) == len(result.outputs["save"]["images"]) == 2


def test_the_truth_says_how_far_either_run_is_and_which_is_nearer(client, picture):
    """Levels 100 and 120 of 255, the truth 115: 15 and 5 apart."""
    sources = {"a": load(picture("a.png", 100)), "b": load(picture("b.png", 120)), "t": load(picture("t.png", 115))}
    text = shown(client.run(comparing("a", "b", truth="t", **sources)), "text")
    far, near = (20 * math.log10(255 / apart) for apart in (15, 5))
    first, second = text.split("\n\n")
    assert first == shown(client.run(comparing("a", "b", a=sources["a"], b=sources["b"])), "text")
    title, heading, *rows, last = second.splitlines()
    assert title == "To the truth, PSNR (dB):" and heading.split() == ["picture", "baseline", "SSIM", "accelerated", "SSIM"]
    for row, name in zip(rows, ("1", "mean", "worst"), strict=True):
        assert row.split()[0] == name and row.split()[1::2] == [f"{far:.2f}", f"{near:.2f}"] and 0 < float(row.split()[2]) < 1
    assert last == f"The run with ToCa is nearer to the truth by {near - far:.1f} dB."


@pytest.mark.parametrize("changed, words", [
    ({"size": (32, 48)}, ("64 x 48", "accelerated 32 x 48", "same size")),
    ({"count": 2}, ("1 pictures", "accelerated 2", "batch size")),
    ({"tiny": (8, 8)}, ("8 x 8", "at least 11")),
])
def test_what_does_not_fit_is_refused_with_both_sizes(client, picture, changed, words):
    size = changed.get("tiny", (64, 48))
    sources = {"a": load(picture("a.png", 9, size)), "b": load(picture("b.png", 9, changed.get("size", size)))}
    sources["twice"] = {"class_type": "RepeatImageBatch", "inputs": {"image": ["b", 0], "amount": changed.get("count", 1)}}
    error = client.run(comparing("a", "twice", **sources)).error
    assert error is not None and all(word in error for word in words), error


@pytest.mark.parametrize("name", ["other_seed", "truth"])
def test_what_may_be_left_open_has_to_fit_too(client, picture, name):
    sources = {"a": load(picture("a.png", 9)), "b": load(picture("b.png", 9)), "c": load(picture("c.png", 9, (32, 48)))}
    error = client.run(comparing("a", "b", **{name: "c"}, **sources)).error
    assert error is not None and f"{name} 32 x 48" in error and "same size" in error


def test_videos_are_compared_frame_by_frame(client, picture):
    def video(name, value):
        return {f"{name}_still": load(picture(f"{name}.png", value)),
                f"{name}_frames": {"class_type": "RepeatImageBatch", "inputs": {"image": [f"{name}_still", 0], "amount": 3}},
                name: {"class_type": "CreateVideo", "inputs": {"images": [f"{name}_frames", 0], "fps": 8.0}}}

    result = client.run(comparing("a", "b", **video("a", 100), **video("b", 151)))
    text = shown(result, "text")
    assert text.startswith("frame") and [line.split()[0] for line in text.splitlines()[1:4]] == ["1", "2", "3"]
    assert len(result.outputs["compare"]["a_images"]) == 3 and text.count("13.98") == 5


def test_of_a_long_video_the_slider_gets_64_frames(client, picture):
    sources = {"a_still": load(picture("a.png", 100, (16, 16))), "b_still": load(picture("b.png", 101, (16, 16)))}
    sources |= {name: {"class_type": "RepeatImageBatch", "inputs": {"image": [f"{name}_still", 0], "amount": 100}} for name in "ab"}
    result = client.run(comparing("a", "b", **sources))
    output = result.outputs["compare"]
    numbers = [figure["picture"] for figure in output["figures"]]
    assert len(output["a_images"]) == len(numbers) == 64 and numbers[0] == 1 and numbers[-1] == 100 and numbers == sorted(set(numbers))
    assert len(result.outputs["save"]["images"]) == 100


def test_two_samplers_of_the_example_workflow(client):
    """Through the API with no browser: cached beside uncached, and another seed as the floor."""
    workflow = json.loads((PROJECT / "workflows/demo_compare.json").read_text(encoding="utf-8"))
    prompt = to_prompt(workflow, client.object_info())
    for content in prompt.values():
        if content["class_type"] == "KSampler":
            content["inputs"]["steps"] = 8
    [node] = [name for name, content in prompt.items() if content["class_type"] == "ToCaCompare"]
    result = client.run(prompt | {"text": {"class_type": TEXT, "inputs": {"source": [node, 1]}}})
    *_, last = shown(result, "text").splitlines()
    assert float(last.split()[0]) > 10 and len(result.outputs[node]["figures"]) == 4
    assert len(result.of_type("toca.report")) == 1                 # of three samplers one is cached


def test_one_picture_at_a_time_gives_the_figures_of_the_batch():
    comparison, quality = pack_module("nodes.comparison"), pack_module("toca_core.quality")
    pictures, references = torch.rand(2, 3, 20, 24, 3, generator=torch.Generator().manual_seed(0))
    found = comparison.likeness(pictures, references)
    pair = pictures.movedim(-1, 1), references.movedim(-1, 1)
    assert found.decibels == pytest.approx(quality.psnr(*pair).tolist())
    assert found.ssim == pytest.approx(quality.ssim(*pair).tolist(), rel=1e-4)


# ---- pictures that are not finite ----


def broken(*values):
    """Pictures of 20 x 24, each with one pixel of the value; None leaves it."""
    pictures = torch.rand(len(values), 20, 24, 3, generator=torch.Generator().manual_seed(0))
    for picture, value in zip(pictures, values, strict=True):
        if value is not None:
            picture[3, 5, 1] = value
    return pictures


@pytest.fixture
def compare(tmp_path, monkeypatch):
    """compare(baseline, accelerated, ...) -> (difference, text, psnr, ssim, figures)"""
    import folder_paths
    monkeypatch.setattr(folder_paths, "temp_directory", str(tmp_path))
    from comfy_api.latest import io as host_io
    node = pack_module("nodes.toca_compare").ToCaCompare

    def call(*pictures, **more):
        hidden = {host_io.Hidden.prompt: None, host_io.Hidden.extra_pnginfo: None}
        output = node.PREPARE_CLASS_CLONE({"hidden_inputs": hidden}).execute(*pictures, **more)
        return *output.args, output.ui["figures"]
    return call


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_picture_that_is_not_finite_is_the_worst_and_left_out_of_the_means(compare, value):
    plain = broken(None, None, None)
    close = plain + 0.1
    close[1, 3, 5, 1] = value
    difference, text, psnr, ssim, figures = compare(plain, close)
    rows = {line.split()[0]: line for line in text.splitlines()}
    assert "not finite" in rows["2"] and "not finite" in rows["worst"] and "20.00" in rows["mean"] and "20.00" in rows["1"]
    assert "Least alike: picture 2." in text and "picture 2, so the means leave them out" in text
    assert psnr == pytest.approx(20, abs=1e-3) and 0 < ssim < 1
    assert figures[1] == {"picture": 2, "psnr": None, "ssim": None} and figures[0]["psnr"] == pytest.approx(20, abs=1e-3)
    json.dumps(figures, allow_nan=False)
    zoom = difference.shape[2] // 24
    marked = (difference[:, :20 * zoom] * 255 == torch.tensor(pack_module("nodes.drawing.canvas").NOT_FINITE)).all(-1)
    assert marked.flatten(1).sum(1).tolist() == [0, zoom ** 2, 0] and marked[1, 3 * zoom, 5 * zoom]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_the_same_picture_that_is_not_finite_is_not_identical(compare, value):
    pictures = broken(value)
    _, text, psnr, ssim, figures = compare(pictures, pictures.clone())
    assert (psnr, ssim) == (0.0, 0.0) and figures == [{"picture": 1, "psnr": None, "ssim": None}]
    assert "identical" not in text and "not finite" in text and "picture 1, so the means are 0" in text


def test_another_seed_that_is_not_finite_is_no_floor(compare):
    plain = broken(None, None)
    for floor, words in (((math.nan, None), "of another seed (NaN or infinite pixels in it or in its baseline): picture 1"),
                         ((math.nan, math.nan), "picture 1, 2, so the means are 0")):
        _, text, psnr, _, figures = compare(plain, plain + 0.1, other_seed=broken(*floor) / 2)
        assert words in text and ("dB above another seed" in text) == (None in floor)
        assert psnr == pytest.approx(20, abs=1e-3) and all(figure["psnr"] is not None for figure in figures)


# ---- the truth ----


@pytest.mark.parametrize("apart, words", [
    ((0.1, 0.01), "The run with ToCa is nearer to the truth by 20.0 dB, in 2 of 2 pictures."),
    ((0.01, 0.1), "The run without ToCa is nearer to the truth by 20.0 dB, in 2 of 2 pictures."),
    ((0.1, 0.1), "Both runs are equally near to the truth."),
    ((0.0, 0.1), "The run without ToCa is nearer to the truth by 79.0 dB, in 2 of 2 pictures."),       # identical counts 99
])
def test_which_run_is_nearer_to_the_truth(compare, apart, words):
    truth = broken(None, None)
    text = compare(*(truth + by for by in apart), truth=truth)[1]
    assert text.splitlines()[-1] == words and "not finite" not in text


def test_the_verdict_counts_the_pictures_that_are_finite_on_both_sides(compare):
    """Of four, one without ToCa and one with it are not finite; in one of the others it is nearer, in one farther."""
    plain = torch.rand(4, 20, 24, 3, generator=torch.Generator().manual_seed(0))
    baseline, cached = (plain + torch.tensor(by).view(4, 1, 1, 1) for by in ([0.1, 0.1, 0.1, 0.01], [0.001, 0.1, 0.0001, 0.1]))
    baseline[0, 3, 5, 1], cached[1, 3, 5, 1] = math.nan, math.inf
    _, text, *_ = compare(baseline, cached, truth=plain)
    assert text.splitlines()[-1] == "The run with ToCa is nearer to the truth by 20.0 dB, in 1 of 2 pictures."
    for name, number in (("baseline", 1), ("accelerated", 2)):
        assert f"Not finite in {name} (NaN or infinite pixels in it or in the truth): picture {number}, so the means leave them" in text


def test_a_truth_that_is_not_finite_says_nothing(compare):
    plain = broken(None, None)
    for values, last in (((math.nan, None), "The run with ToCa is nearer to the truth by 20.0 dB."),
                         ((math.nan, math.inf), "Not finite in accelerated (NaN or infinite pixels in it or in the truth): picture 1, 2, "
                                                "so the means are 0.")):
        _, text, psnr, _, figures = compare(plain + 0.1, plain + 0.01, truth=broken(*values))
        assert text.splitlines()[-1] == last
        assert psnr == pytest.approx(20 * math.log10(1 / 0.09), abs=1e-3) and all(figure["psnr"] is not None for figure in figures)
