"""The picture of a calibration: what was measured, the target, the choice, and how sensitive each module of each block is."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from ..toca_core.keep.memory import readable

WIDTH, HEIGHT = 820, 740         # of one chart; two stand one above the other
TITLE, WORDS, SMALL = 30, 28, 26        # pixels: legible in a preview of 420 pixels, in a graph seen at 60%
FINE = 3                        # lines are drawn this many times as large and then made smaller, or they would have steps
INK, FAINT, GRID, PAPER = "#1a1a1a", "#5c5c5c", "#dddddd", "white"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#882255")  # Okabe and Ito's, for the colour-blind
CHOSEN = "#D55E00"
MARKS = ("circle", "square", "triangle", "diamond")
UPPER, LOWER = (150, 70, 790, 620), (150, 70 + HEIGHT, 790, 620 + HEIGHT)              # boxes of the charts: left, top, right, bottom


@dataclass
class Chart:
    """A box with two scales. low, high: the values at the box's lower left and upper right corners."""
    canvas: "Canvas"
    box: tuple[int, int, int, int]
    low: tuple[float, float]
    high: tuple[float, float]
    title: str
    across: str

    def place(self, x: float, y: float) -> tuple[float, float]:
        left, top, right, bottom = self.box
        (x0, y0), (x1, y1) = self.low, self.high
        return left + (right - left) * (x - x0) / (x1 - x0), bottom - (bottom - top) * (y - y0) / (y1 - y0)

    def frame(self, x_ticks, y_ticks, x_form, y_form):
        left, top, right, bottom = self.box
        for value in y_ticks:
            _, y = self.place(self.low[0], value)
            self.canvas.line([(left, y), (right, y)], GRID, 1)
            self.canvas.text((left - 10, y), y_form.format(value), FAINT, anchor="rm")
        for value in x_ticks:
            x, _ = self.place(value, self.low[1])
            self.canvas.line([(x, bottom), (x, bottom + 6)], FAINT, 1)
            self.canvas.text((x, bottom + 10), x_form.format(value), FAINT, anchor="ma")
        self.canvas.line([(left, top), (left, bottom), (right, bottom)], FAINT, 1.5)
        self.canvas.text((left, top - 18), self.title, INK, size=TITLE, anchor="ls")
        self.canvas.text(((left + right) / 2, bottom + 48), self.across, FAINT, anchor="ma")


@dataclass
class Canvas:
    """Lines and marks are drawn large at once; texts afterwards, at their own size."""
    image: Image.Image = field(default_factory=lambda: Image.new("RGB", (WIDTH * FINE, 2 * HEIGHT * FINE), PAPER))
    texts: list = field(default_factory=list)

    def line(self, points, colour, width=2.0, dash=0):
        for start, end in zip(points, points[1:], strict=False):
            for a, b in dashes(start, end, dash) if dash else [(start, end)]:
                ImageDraw.Draw(self.image).line([(x * FINE, y * FINE) for x, y in (a, b)], colour, round(width * FINE))

    def mark(self, at, shape, colour, size=7):
        (x, y), pen = at, ImageDraw.Draw(self.image)
        if shape == "circle":
            pen.ellipse([(x - size) * FINE, (y - size) * FINE, (x + size) * FINE, (y + size) * FINE], colour)
            return
        corners = {"square": ((-.9, -.9), (.9, -.9), (.9, .9), (-.9, .9)), "triangle": ((0, -1.2), (1.1, .8), (-1.1, .8)),
                   "diamond": ((0, -1.3), (1.3, 0), (0, 1.3), (-1.3, 0))}[shape]
        pen.polygon([((x + dx * size) * FINE, (y + dy * size) * FINE) for dx, dy in corners], colour)

    def bar(self, box, colour):
        ImageDraw.Draw(self.image).rectangle([side * FINE for side in box], colour)

    def text(self, at, words, colour=INK, size=WORDS, anchor="la"):
        self.texts.append((at, words, colour, size, anchor))

    def finish(self) -> Image.Image:
        image = self.image.resize((WIDTH, 2 * HEIGHT), Image.Resampling.LANCZOS)
        pen = ImageDraw.Draw(image)
        for at, words, colour, size, anchor in self.texts:
            pen.text(at, words, colour, ImageFont.load_default(size), anchor, stroke_width=3, stroke_fill=PAPER)    # lines end before it
        return image


def dashes(start, end, length: float):
    """The pieces of a broken line."""
    whole = math.dist(start, end)
    for index in range(0, math.ceil(whole / length), 2):
        yield tuple(tuple(a + (b - a) * min(1.0, part * length / whole) for a, b in zip(start, end, strict=True))
                    for part in (index, index + 1))


def ticks(low: float, high: float, wanted: int = 6) -> list[float]:
    """Round numbers from low to high, about as many as asked for."""
    rough = (high - low) / wanted
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(size * unit for size in (1, 2, 5, 10) if size * unit >= rough * 0.999)
    return [index * step for index in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def span(values: list[float], room: float = 0.12) -> tuple[float, float]:
    """From below the least to above the largest, with a share of their distance as room."""
    rest = room * (max(values) - min(values)) or 1.0
    return min(values) - rest, max(values) + rest


def picture(upper: Callable[[Canvas], None], sensitivity: dict[str, list[float]]):
    """-> IMAGE (1, H, W, 3) in 0..1. upper draws what was chosen from, `curve` or `sizes`; without sensitivity that is all."""
    canvas = Canvas()
    upper(canvas)
    if sensitivity:
        blocks(canvas, sensitivity)
    image = canvas.finish().crop((0, 0, WIDTH, HEIGHT * (2 if sensitivity else 1)))
    return torch.from_numpy(np.asarray(image).astype(np.float32) / 255)[None]


def curve(canvas: Canvas, points, target, chosen):
    """Likeness over speed, a mark for every tolerance; the target as a broken line, and what was chosen."""
    across = span([*(point.speedup for point in points), *([target.value] if target.kind == "speed" else [])], 0.2)
    up = span([*(point.mean for point in points), *([target.value] if target.kind == "psnr" else [])])
    chart = Chart(canvas, UPPER, (across[0], up[0]), (across[1], up[1]), "Likeness over speed", "speed-up, FLOPs")
    chart.frame(ticks(*across), ticks(*up), "{:.3g}x", "{:.3g} dB")
    ends = [(target.value, value) for value in up] if target.kind == "speed" else [(value, target.value) for value in across]
    canvas.line([chart.place(*end) for end in ends], INK, 2, dash=10)
    canvas.line([chart.place(point.speedup, point.mean) for point in points], COLOURS[0], 2.5)
    named: list[tuple[float, float]] = []
    for point in points:
        x, y = chart.place(point.speedup, point.mean)
        canvas.mark((x, y), "circle", COLOURS[0])
        if not any(abs(x - a) < 85 and abs(y - b) < 30 for a, b in named):          # where two are as good as one, the first is named
            canvas.text((x - 10, y + 8), f"{point.tolerance:g}%", COLOURS[0], SMALL, anchor="ra")
            named.append((x, y))
    canvas.mark(chart.place(chosen.speedup, chosen.mean), "diamond", CHOSEN, 11)
    legend(canvas, UPPER, [(f"tolerance: {len(points)} tried", COLOURS[0], "circle"), (f"chosen: {chosen.tolerance:g}%", CHOSEN, "diamond"),
                          (f"target: {target}", INK, None)])


def sizes(canvas: Canvas, needs: list[tuple[str, int]], limit: float, chosen: str):
    """Bars of what the cache takes in one form and another, in bytes, beside the limit."""
    left, (_, top, right, bottom) = 30, UPPER
    name, number = 300, 120                                         # pixels for the names and for the sizes
    most, height = 1.1 * max(limit, *(size for _, size in needs)), (bottom - top) / len(needs)
    canvas.text((left, top - 18), "Memory of the cache", INK, size=TITLE, anchor="ls")
    for index, (words, size) in enumerate(needs):
        y, end = top + height * (index + 0.5), left + name + (right - left - name - number) * size / most
        colour = CHOSEN if words == chosen else COLOURS[0] if size <= limit else COLOURS[5]
        canvas.bar((left + name, y - height / 4, end, y + height / 4), colour)
        canvas.text((left + name - 12, y), words, CHOSEN if words == chosen else INK, SMALL, anchor="rm")
        canvas.text((right, y), readable(size), FAINT, SMALL, anchor="rm")
    x = left + name + (right - left - name - number) * limit / most
    canvas.line([(x, top), (x, bottom)], INK, 2, dash=10)
    canvas.text((x, bottom + 10), f"at most {readable(limit)}", INK, anchor="ma")


def blocks(canvas: Canvas, sensitivity: dict[str, list[float]]):
    """A line for each module: the error of the output where it is reused, block by block."""
    most, depth = 100 * max(map(max, sensitivity.values())) or 1.0, max(map(len, sensitivity.values()))
    chart = Chart(canvas, LOWER, (-0.3, 0.0), (depth - 0.7, 1.35 * most), "Error of the output, one module stale", "block")
    step = math.ceil(depth / 10)
    chart.frame(range(0, depth, step), ticks(0, 1.35 * most), "{:.0f}", "{:.2g}%")
    for (_, errors), (colour, shape) in zip(sensitivity.items(), styles(), strict=False):
        places = [chart.place(block, 100 * error) for block, error in enumerate(errors)]
        canvas.line(places, colour, 2.5)
        for place in places:
            canvas.mark(place, shape, colour)
    legend(canvas, LOWER, [(name, *style) for name, style in zip(sensitivity, styles(), strict=False)])


def styles():
    """Colours and marks, each pair once; the mark says again what the colour says."""
    return ((colour, MARKS[(index + round_) % len(MARKS)]) for round_ in range(len(MARKS)) for index, colour in enumerate(COLOURS))


def legend(canvas: Canvas, box, entries: list[tuple[str, str, str | None]]):
    """Names at the upper right of a box, each with its mark; None is the broken line."""
    for index, (words, colour, shape) in enumerate(entries):
        x, y = box[2] - 12, box[1] + 18 + 36 * index
        canvas.text((x - 24, y), words, colour, anchor="rm")
        if shape:
            canvas.mark((x, y), shape, colour)
        elif colour == INK:
            canvas.line([(x - 14, y), (x + 12, y)], INK, 2, dash=6)
