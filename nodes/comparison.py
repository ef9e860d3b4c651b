"""What ToCa Compare says and draws about two batches of pictures."""

from dataclasses import dataclass

from PIL import Image

from ..toca_core import quality
from .drawing.canvas import INK, as_images, font, paper, ramp, scale

WIDE = 256                          # pixels that a difference picture is enlarged to, in whole multiples, or its legend could not be read
SMALLEST = quality.WINDOW           # pixels a side, which SSIM's window wants


@dataclass(frozen=True)
class Likeness:
    """Of each picture to its reference: PSNR in dB, inf where the two are identical, and SSIM."""
    decibels: list[float]
    ssim: list[float]

    @property
    def mean(self) -> tuple[float, float]:
        return quality.mean_psnr(self.decibels), sum(self.ssim) / len(self.ssim)

    @property
    def worst(self) -> int:
        """Index of the picture with the lowest PSNR."""
        return self.decibels.index(min(self.decibels))


def likeness(pictures, references) -> Likeness:
    """Of pictures (B, H, W, 3) in 0..1; one at a time, so that a video takes no more memory than a picture."""
    pairs = [(one[None].movedim(-1, 1), other[None].movedim(-1, 1)) for one, other in zip(pictures, references, strict=True)]
    return Likeness(*([measure(*pair).item() for pair in pairs] for measure in (quality.psnr, quality.ssim)))


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
        return f"The pictures are {side(baseline)} pixels: SSIM wants at least {SMALLEST} a side; compare larger ones."
    return None


def side(pictures) -> str:
    return f"{pictures.shape[2]} x {pictures.shape[1]}"


def decibel(value: float) -> str:
    return "identical" if value >= quality.IDENTICAL else f"{value:.2f}"


# ---- the table ----


def table(found: Likeness, floor: Likeness | None, unit: str) -> str:
    """Lines to read: each picture (or frame: `unit`), the mean, the worst, and what a picture of another seed scores."""
    sides = [found] if floor is None else [found, floor]
    heading = "".join(f"{title:>12}{'SSIM':>8}" for title in ("PSNR (dB)", "other seed")[:len(sides)])
    lines = [f"{unit:<8}{heading}"]
    lines += [line(str(index + 1), [(one.decibels[index], one.ssim[index]) for one in sides]) for index in range(len(found.ssim))]
    lines += [line("mean", [one.mean for one in sides]), line("worst", [(min(one.decibels), min(one.ssim)) for one in sides])]
    if min(found.decibels) < quality.IDENTICAL:
        lines.append(f"Least alike: {unit} {found.worst + 1}.")
    if floor is not None:
        lines.append(f"{found.mean[0] - floor.mean[0]:.1f} dB above another seed, which shows what just another picture scores.")
    return "\n".join(lines)


def line(name: str, figures: list[tuple[float, float]]) -> str:
    return f"{name:<8}" + "".join(f"{decibel(psnr):>12}{ssim:>8.4f}" for psnr, ssim in figures)


# ---- the picture of the differences ----


def difference_picture(baseline, accelerated, gain: float, found: Likeness, floor: Likeness | None):
    """Where two batches (B, H, W, 3) differ, in colours, with a legend below: (B, H', W', 3) on the CPU.

    A pixel's difference is that of the channel that differs most; the lightest colour is 1 / gain of the full range, or more.
    """
    zoom = max(1, -(-WIDE // baseline.shape[2]))
    amplified = ((accelerated - baseline).abs().amax(-1) * gain).cpu().numpy()                         # (B, H, W)
    return as_images([framed(shares, zoom, gain, captions(found, floor, index)) for index, shares in enumerate(amplified)])


def captions(found: Likeness, floor: Likeness | None, index: int) -> list[str]:
    sides = {"": found} if floor is None else {"": found, "other seed: ": floor}
    return [f"{name}{decibel(one.decibels[index])}{' dB' if one.decibels[index] < quality.IDENTICAL else ''}   SSIM {one.ssim[index]:.4f}"
            for name, one in sides.items()]


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
