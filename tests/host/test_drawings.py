"""Every picture that the nodes draw is, pixel for pixel, the approved one in tests/drawings.

A drawing that is meant to change: look at the new one, whose place the failing test names, and put it in the old one's place.
"""

import math
from functools import partial

import numpy as np
import PIL
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tests.conftest import PROJECT
from tools.pack import pack_module

APPROVED = PROJECT / "tests" / "drawings"
LETTERS = 0.02                      # share of the pixels that another Pillow may draw otherwise: at the edges of letters
NAMES = ("attention", "mlp", "another module with a long name")


def report_of(kinds: str, **changes):
    """A RunReport: "f"ull, "p"artial, "-" plain or "o"ther, by step; full ones have errors, and one of them none that is finite."""
    made = pack_module("toca_core.report")
    names = {"f": "full", "p": "partial", "-": "plain", "o": "other"}
    steps = []
    for index, kind in enumerate(kinds):
        step = made.StepReport(index, 1 - index / len(kinds), names[kind], seconds=0.5 if kind == "p" else 1.5)
        if kind == "f" and index:
            step.error = math.nan if index == 9 else 2.5 + math.sin(index)
        if kind == "p":
            blocks = {name: [(place + 1) * 0.04 * (block + 1) for block in range(6)] for place, name in enumerate(NAMES)}
            step.fresh_per_block = blocks
            step.fresh_share = {name: sum(shares) / len(shares) for name, shares in blocks.items()}
        steps.append(step)
    told = {"flops": 10 ** 9, "plain_flops": 3 * 10 ** 9, "cache_bytes": 3 * 2 ** 20, "predicted_cache_bytes": 4 * 2 ** 20, "seconds": 9.5}
    return made.RunReport("DiT", "custom", {"level": "module"}, steps, **{**told, **changes})


def runs(words: bool):
    alike = report_of("fpp", note="A sentence that a user should know, and that goes on for more than a line of the picture, "
                                    "as some of them do")
    for step in alike.steps[1:]:
        step.fresh_per_block, step.fresh_share = {"mlp": [0.25] * 4}, {"mlp": 0.25}
    named = [("KSampler, node 4", report_of("fppfpp-fpf-o")),
             ("A title that is much longer than others, so that it is drawn smaller: node 12", alike)]
    return pack_module("nodes.drawing.report").draw_runs(named, words)


def sentence():
    return pack_module("nodes.drawing.report").draw_sentence("Why there is no report here, in so many words that they take a second line "
                                                             "of the picture, which is 840 pixels wide")


def evenly(*shape):
    """0 to 1, the same to the last bit on every processor, which `linspace` is not."""
    count = torch.Size(shape).numel()
    return (torch.arange(count) / (count - 1)).reshape(shape)


def maps(which: int, high: float = 3.0):
    values = torch.arange(48.0).reshape(1, 6, 8) / 16
    values[0, 0, 0] = math.nan
    images = evenly(1, 6, 8, 3)
    drawn = pack_module("nodes.drawing.tokens").draw_maps(values, images, "error of each token", (0.0, high), ("0.0%", "3.0%"), 0.5)
    return drawn[which][0]


def alike_map():
    values = torch.full((1, 6, 8), 2.0)
    return pack_module("nodes.drawing.tokens").draw_maps(values, torch.zeros(1, 6, 8, 3), "age", (2.0, 2.0), ("2", "2"), 1.0)[0][0]


def calibration(kind: str):
    drawing, core = pack_module("nodes.calibration_picture"), pack_module("toca_core.calibration")
    names = NAMES if kind == "speed" else [f"module {number}" for number in range(1, 12)]            # more than there are colours
    sensitivity = {name: [0.03 * (place + 1) * math.exp(-block / 5) for block in range(12)] for place, name in enumerate(names)}
    if kind == "sizes":
        needs = [("float32", 6 * 2 ** 30), ("bf16", 3 * 2 ** 30), ("fp8", int(1.5 * 2 ** 30))]
        return drawing.picture(partial(drawing.sizes, needs=needs, limit=4 * 2 ** 30, chosen="bf16"), {})[0]
    points = [core.Point(tolerance, speedup, 0.9 * speedup, speedup, (mean - 1, mean + 1)) for tolerance, speedup, mean in
              ((0.1, 1.3, 46.0), (0.2, 1.8, 41.0), (0.21, 1.82, 40.9), (0.4, 2.6, 35.0))]
    target = core.parse_target("2x" if kind == "speed" else "PSNR >= 38")
    return drawing.picture(partial(drawing.curve, points=points, target=target, chosen=points[1]), sensitivity)[0]


def comparison():
    drawing = pack_module("nodes.comparison")
    baseline = evenly(1, 12, 16, 3)
    other = baseline + evenly(16)[:, None] / 10
    other[0, 3, 3, 1] = math.inf
    found, floor = drawing.Likeness([31.25], [0.951]), drawing.Likeness([math.nan], [math.nan])
    return drawing.difference_picture(baseline, other, 10.0, floor, found)[0]


DRAWINGS = {"report": partial(runs, False), "report_in_words": partial(runs, True), "sentence": sentence, "map": partial(maps, 0),
            "overlay": partial(maps, 1), "map_of_one_value": alike_map, "calibration_speed": partial(calibration, "speed"),
            "calibration_likeness": partial(calibration, "likeness"), "calibration_sizes": partial(calibration, "sizes"),
            "comparison": comparison}


@pytest.mark.parametrize("name", DRAWINGS)
def test_it_is_drawn_as_approved(name, tmp_path):
    drawn = DRAWINGS[name]()
    if torch.is_tensor(drawn):
        drawn = Image.fromarray((drawn.numpy() * 255).round().astype(np.uint8))
    known, fresh, path = PngInfo(), tmp_path / f"{name}.png", APPROVED / f"{name}.png"
    known.add_text("Pillow", PIL.__version__)
    drawn.save(fresh, pnginfo=known, optimize=True)
    assert path.is_file(), f"{path} is not there yet: look at {fresh}"
    with Image.open(path) as approved:
        assert drawn.size == approved.size, f"look at {fresh}"
        other = (np.asarray(drawn) != np.asarray(approved.convert("RGB"))).any(-1).mean()
        assert other <= (0 if approved.text["Pillow"] == PIL.__version__ else LETTERS), f"look at {fresh}"
