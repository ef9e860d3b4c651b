"""Token maps as pictures: on their own, and laid over the result."""

import numpy as np
import torch
from PIL import Image

from .canvas import INK, as_images, fitting, font, paper, ramp, scale

SHORTER = 512                   # pixels, at least, of a picture's shorter side
BAR, TEXT = 26, 22


def token_index(pixels: int, latent: int, patch: int) -> list[int]:
    """Along one axis, the token under each pixel; the last one may be cut."""
    return [(2 * pixel + 1) * latent // (2 * pixels) // patch for pixel in range(pixels)]


def over_pictures(values, latent, patch, shape):
    """Token values (b, frames, rows, columns) -> (n, H, W), for n = b x frames pictures of that size, of each video in its order.

    latent    (frames, H, W) of the latent, patch of one token in it; the moments of a video are dealt out evenly
    shape     (n, H, W), n a multiple of b
    """
    count, *size = shape
    batch = len(values)
    axes = zip((count // batch, *size), latent, patch, strict=True)
    frames, rows, columns = (torch.tensor(token_index(*axis)) for axis in axes)
    return values[:, frames][:, :, rows][..., columns].flatten(0, 1)


def draw_maps(values, images, title: str, limits: tuple[float, float], words: tuple[str, str], opacity: float):
    """values (n, H, W) and images (n, H, W, 3) in 0..1 -> (maps, overlays), IMAGE both, with the scale and its numbers below.

    limits    the values at the ends of the scale; words: how they read. Values that are not finite are marked
    """
    low, high = limits
    shares = (values - low) / (high - low) if high > low else torch.where(values.isfinite(), 0.5, values)
    colours = torch.from_numpy(ramp(shares.numpy()))                # (n, H, W, 3)
    pictures = (images[..., :3].float().cpu().nan_to_num(0.0).clamp(0, 1) * 255).round()
    blended = torch.lerp(pictures, colours.float(), opacity).round().to(torch.uint8)
    times = max(1, -(-SHORTER // min(values.shape[1:])))
    legend = draw_legend(values.shape[2] * times, title, words if high > low else words[:1])
    return tuple(as_images([with_legend(picture.numpy(), times, legend) for picture in sheet]) for sheet in (colours, blended))


def with_legend(picture, times: int, legend):
    height, width = picture.shape[:2]
    sheet = Image.new("RGB", (width * times, height * times + legend.height))
    sheet.paste(Image.fromarray(np.ascontiguousarray(picture)).resize((width * times, height * times), Image.Resampling.NEAREST))
    sheet.paste(legend, (0, height * times))
    return sheet


def draw_legend(width: int, title: str, words: tuple[str, ...]):
    """What is shown, and the scale; where all values are alike, the one number."""
    image, draw = paper(width, 2 * BAR + 30)
    text = title if len(words) > 1 else f"{title}: {words[0]} everywhere"
    draw.text((10, 10), text, INK, font(fitting(text, TEXT, width - 20)))
    if len(words) > 1:
        scale(image, draw, (10, BAR + 16, width - 10, 2 * BAR + 16), words[0], words[-1], TEXT)
    return image
