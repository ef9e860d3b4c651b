"""What ToCa Compare says and draws about two batches of pictures."""

import math
from dataclasses import dataclass

from PIL import Image

from ..toca_core import quality
from .drawing.canvas import INK, as_images, font, paper, ramp, scale

WIDE = 256                          # pixels that a difference picture is enlarged to, in whole multiples, or its legend could not be read
SMALLEST = quality.WINDOW           # pixels a side, which SSIM's window needs
EQUAL = 0.05                        # dB below which nobody is nearer: it would be written as 0.0


@dataclass(frozen=True)
class Likeness:
    """Of each picture to its reference: PSNR in dB, inf where the two are identical, and SSIM; NaN both where either picture holds a value
    that is not finite."""
    decibels: list[float]
    ssim: list[float]

    @property
    def broken(self) -> list[int]:
        """Indices of the pairs that are not finite."""
        return [index for index, value in enumerate(self.decibels) if math.isnan(value)]

    @property
    def mean(self) -> tuple[float, float]:
        """Of the pairs that are finite; 0 where none is."""
        decibels, ssim = ([value for value in values if not math.isnan(value)] for values in (self.decibels, self.ssim))
        return (quality.mean_psnr(decibels), sum(ssim) / len(ssim)) if decibels else (0.0, 0.0)

    @property
    def worst(self) -> int:
        """Index of the picture with the lowest PSNR; one that is not finite is worse than any."""
        return self.broken[0] if self.broken else self.decibels.index(min(self.decibels))

    @property
    def lowest(self) -> tuple[float, float]:
        """The lowest PSNR and the lowest SSIM; NaN where a pair is not finite."""
        return (math.nan, math.nan) if self.broken else (min(self.decibels), min(self.ssim))


def likeness(pictures, references) -> Likeness:
    """Of pictures (B, H, W, 3) in 0..1; one at a time, so that a video takes no more memory than a picture."""
    pairs = [(one[None].movedim(-1, 1), other[None].movedim(-1, 1)) for one, other in zip(pictures, references, strict=True)]
    found = [(quality.psnr(*pair).item(), quality.ssim(*pair).item()) for pair in pairs]
    found = [(math.nan, math.nan) if any(map(math.isnan, figures)) else figures for figures in found]
    return Likeness([decibels for decibels, _ in found], [ssim for _, ssim in found])


def refusal(baseline, others: dict) -> str | None:
    """Why pictures (B, H, W, C) cannot be compared with the baseline's, or None. others: {name of the input: pictures}."""
    for name, pictures in others.items():
        if pictures.shape[1:3] != baseline.shape[1:3]:
            return (f"baseline is {side(baseline)} pixels and {name} {side(pictures)}: give both samplers a latent of the same size, or "
                    "bring one to the other's size with Upscale Image.")
        if len(pictures) != len(baseline):
            return (f"baseline has {len(baseline)} pictures and {name} {len(pictures)}: give both samplers the same batch size or number "
                    "of frames.")
    if min(baseline.shape[1:3]) < SMALLEST:
        return f"The pictures are {side(baseline)} pixels: SSIM needs at least {SMALLEST} a side; compare larger ones."
    return None


def side(pictures) -> str:
    return f"{pictures.shape[2]} x {pictures.shape[1]}"


def decibel(value: float) -> str:
    if math.isnan(value):
        return "not finite"
    return "identical" if value >= quality.IDENTICAL else f"{value:.2f}"


def similarity(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4f}"


# ---- the table ----


def table(found: Likeness, floor: Likeness | None, unit: str) -> str:
    """Lines to read: each picture (or frame: `unit`), the mean, the worst, and what a picture of another seed scores."""
    sides = [found] if floor is None else [found, floor]
    lines = columns(dict(zip(("PSNR (dB)", "other seed"), sides, strict=False)), unit)
    if found.broken or min(found.decibels) < quality.IDENTICAL:
        lines.append(f"Least alike: {unit} {found.worst + 1}.")
    lines += [left_out(one, unit, where) for one, where in zip(sides, ("", " of another seed"), strict=False) if one.broken]
    if floor is not None and all(len(one.broken) < len(one.decibels) for one in sides):
        lines.append(f"{found.mean[0] - floor.mean[0]:.1f} dB above another seed, which shows what just another picture scores.")
    return "\n".join(lines)


def truth_table(baseline: Likeness, accelerated: Likeness, unit: str) -> str:
    """Lines to read: how far from the truth either run is, and which is nearer to it, by the pictures that are finite in both."""
    sides = {"baseline": baseline, "accelerated": accelerated}
    lines = ["To the truth, PSNR (dB):", *columns(sides, unit)]
    lines += [left_out(one, unit, f" in {name}", "the truth") for name, one in sides.items() if one.broken]
    pairs = [pair for pair in zip(baseline.decibels, accelerated.decibels, strict=True) if not any(map(math.isnan, pair))]
    return "\n".join([*lines, verdict(pairs, unit)] if pairs else lines)


def verdict(pairs: list[tuple[float, float]], unit: str) -> str:
    """Which run is nearer to the truth. pairs: of each picture the PSNR without and with ToCa."""
    without, cached = (quality.mean_psnr(side) for side in zip(*pairs, strict=True))
    lead = cached - without
    if abs(lead) < EQUAL:
        return "Both runs are equally near to the truth."
    name, nearer = ("with", sum(after > before for before, after in pairs)) if lead > 0 else (
        "without", sum(before > after for before, after in pairs))
    often = f", in {nearer} of {len(pairs)} {unit}s" if len(pairs) > 1 else ""
    return f"The run {name} ToCa is nearer to the truth by {abs(lead):.1f} dB{often}."


def left_out(found: Likeness, unit: str, where: str, reference: str = "its baseline") -> str:
    """Which pairs do not count in a mean, and why."""
    numbers = ", ".join(str(index + 1) for index in found.broken)
    rest = "so the means are 0" if len(found.broken) == len(found.decibels) else "so the means leave them out"
    return f"Not finite{where} (NaN or infinite pixels in it or in {reference}): {unit} {numbers}, {rest}."


def columns(sides: dict[str, Likeness], unit: str) -> list[str]:
    """A heading, a line for each picture, and the mean and the worst. sides: title -> the figures of two columns."""
    lines = [f"{unit:<8}" + "".join(f"{title:>12}{'SSIM':>8}" for title in sides)]
    figures = [list(zip(one.decibels, one.ssim, strict=True)) for one in sides.values()]
    lines += [line(str(index + 1), list(row)) for index, row in enumerate(zip(*figures, strict=True))]
    return [*lines, line("mean", [one.mean for one in sides.values()]), line("worst", [one.lowest for one in sides.values()])]


def line(name: str, figures: list[tuple[float, float]]) -> str:
    return f"{name:<8}" + "".join(f"{decibel(psnr):>12}{similarity(ssim):>8}" for psnr, ssim in figures)


# ---- the picture of the differences ----


def difference_picture(baseline, accelerated, gain: float, found: Likeness, floor: Likeness | None):
    """Where two batches (B, H, W, 3) differ, in colours, with a legend below: (B, H', W', 3) on the CPU.

    A pixel's difference is that of the channel that differs most; the lightest colour is 1 / gain of the full range, or more. A pixel
    that is not finite in either is marked.
    """
    zoom = max(1, -(-WIDE // baseline.shape[2]))
    amplified = ((accelerated - baseline).abs().amax(-1) * gain).cpu().numpy()                         # (B, H, W)
    return as_images([framed(shares, zoom, gain, captions(found, floor, index)) for index, shares in enumerate(amplified)])


def captions(found: Likeness, floor: Likeness | None, index: int) -> list[str]:
    sides = {"": found} if floor is None else {"": found, "other seed: ": floor}
    lines = [name + caption(one.decibels[index], one.ssim[index]) for name, one in sides.items()]
    return [*lines, "orange: not finite"] if found.broken else lines              # as many for every picture of a batch


def caption(decibels: float, ssim: float) -> str:
    return f"{decibel(decibels)}{' dB' if decibels < quality.IDENTICAL else ''}   SSIM {similarity(ssim)}"


def framed(shares, zoom: int, gain: float, legend: list[str]):
    """One picture of shares (H, W), enlarged, with its legend: a line for every caption and the scale of the colours."""
    high, wide = (side * zoom for side in shares.shape)
    size = max(13, wide // 40)
    row = round(size * 1.5)
    page, draw = paper(wide, high + row * (len(legend) + 1) + size // 2)
    page.paste(Image.fromarray(ramp(shares)).resize((wide, high), Image.Resampling.NEAREST))
    for number, caption in enumerate(legend):
        draw.text((size // 2, high + size // 4 + number * row), caption, INK, font(size))
    top = high + size // 2 + len(legend) * row
    scale(page, draw, (size // 2, top, wide - size // 2, top + size), "0", f"{255 / gain:.0f} of 255", size)
    return page
