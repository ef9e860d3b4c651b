"""What all pictures share: colours, text, and a scale with numbers. On paper of its own, so that it reads in light and dark themes."""

import functools

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

PAPER, INK, FAINT = (250, 250, 248), (34, 36, 40), (208, 210, 214)
KINDS = {"full": (0, 114, 178), "partial": (230, 159, 0), "plain": (136, 138, 142), "other": (204, 121, 167)}    # of Okabe and Ito
NOT_FINITE = (213, 94, 0)           # orange, which is on no place of the ramp
RAMP = np.array([(68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37)])    # dark to light, evenly


@functools.cache
def font(size: int):
    return ImageFont.load_default(size)


def ramp(shares):
    """Shares (...) in 0..1 -> colours (..., 3) in 0..255; `NOT_FINITE` where one is NaN or infinite."""
    shares = np.asarray(shares)
    known = np.isfinite(shares)
    places = np.where(known, shares, 0).clip(0, 1) * (len(RAMP) - 1)
    colours = np.stack([np.interp(places, range(len(RAMP)), channel) for channel in RAMP.T], axis=-1).round()
    return np.where(known[..., None], colours, NOT_FINITE).astype(np.uint8)


def wrapped(text: str, size: int, width: int) -> list[str]:
    """The lines of a text, none wider than `width` pixels where its words allow."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font(size).getlength(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def fitting(text: str, size: int, width: int) -> int:
    """The size, at most this one, at which a text is no wider than `width` pixels."""
    return max(10, min(size, int(size * width / max(font(size).getlength(text), 1))))


def paper(width: int, height: int):
    """-> (an empty picture, what draws on it)."""
    image = Image.new("RGB", (width, height), PAPER)
    return image, ImageDraw.Draw(image)


def scale(image, draw, box, low: str, high: str, size: int):
    """The colour ramp with a number at either end; box: (left, top, right, bottom)."""
    left, top, right, bottom = box
    margins = [font(size).getlength(text) + size // 2 for text in (low, high)]
    start, end = round(left + margins[0]), round(right - margins[1])
    if end > start:
        bar = Image.fromarray(np.broadcast_to(ramp(np.linspace(0, 1, end - start)), (bottom - top, end - start, 3)).copy())
        image.paste(bar, (start, top))
    middle = (top + bottom) // 2
    draw.text((left, middle), low, INK, font(size), anchor="lm")
    draw.text((right, middle), high, INK, font(size), anchor="rm")


def as_images(pictures):
    """Pillow images of one size -> IMAGE (n, H, W, 3) in 0..1."""
    return torch.from_numpy(np.stack([np.asarray(picture) for picture in pictures])).float() / 255
