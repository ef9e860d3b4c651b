"""The demo data set: one shape in one colour on a shaded background, drawn by code.

A picture's class is (shape, colour); place, size, light and background are free. Everything is signed-distance
geometry on tensors, so a batch is drawn in one go on any device.
"""

import torch

SHAPES = ("circle", "square", "triangle", "diamond")
COLOURS = {"red": (0.88, 0.15, 0.17), "yellow": (0.95, 0.80, 0.10), "green": (0.15, 0.68, 0.28), "blue": (0.15, 0.28, 0.90)}
CLASSES = tuple(f"{colour} {shape}" for shape in SHAPES for colour in COLOURS)     # index = shape * 4 + colour
SIZE = 64


def distance(shape: str, x, y, r):
    """Signed distance in pixels to `shape` of radius `r` centred at the origin; negative inside. y points down."""
    if shape == "circle":
        return torch.hypot(x, y) - r
    if shape == "square":
        return torch.maximum(x.abs(), y.abs()) - 0.84 * r
    if shape == "triangle":
        return torch.maximum(0.866 * x.abs() - 0.5 * y - 0.5 * r, y - 0.5 * r)
    if shape == "diamond":
        return 0.707 * (x.abs() + y.abs() - r)
    raise ValueError(f"unknown shape {shape!r}; known: {', '.join(SHAPES)}")


def draw(labels, generator=None, size=SIZE):
    """labels (B,) class indices -> pictures (B, 3, size, size) in [-1, 1], on the labels' device."""
    device, count = labels.device, labels.shape[0]

    def uniform(low, high, *shape):
        return low + (high - low) * torch.rand(count, *shape, generator=generator, device=device)

    unit = size / 64
    r = uniform(12, 21, 1, 1) * unit
    cx = r + 1 + uniform(0, 1, 1, 1) * (size - 2 * r - 2)
    cy = r + 1 + uniform(0, 1, 1, 1) * (size - 2 * r - 2)
    picture = background(uniform, size, size, device)
    return paint(picture, labels, cx, cy, r, unit, uniform) * 2 - 1


def paint(picture, labels, cx, cy, r, unit, uniform):
    """An object and its shadow on each picture (B, 3, H, W) in [0, 1].

    labels (B,) class indices; cx, cy, r (B, 1, 1) in pixels; unit: pixels that are one on a picture of SIZE; uniform: `background`.
    """
    height, width = picture.shape[-2:]
    x = torch.arange(width, device=picture.device) + 0.5 - cx        # (B, 1, W)
    y = torch.arange(height, device=picture.device)[:, None] + 0.5 - cy                     # (B, H, 1)
    x, y = torch.broadcast_tensors(x, y)
    shape_of, colour_of = labels // len(COLOURS), labels % len(COLOURS)
    body, shadow = torch.empty_like(x + y), torch.empty_like(x + y)
    for index, name in enumerate(SHAPES):
        rows = shape_of == index
        body[rows] = distance(name, x[rows], y[rows], r[rows])
        shadow[rows] = distance(name, x[rows] - 2 * unit, y[rows] - 3 * unit, r[rows])

    picture = picture * (1 - 0.35 * torch.sigmoid(-shadow / (1.2 * unit)).unsqueeze(1))
    palette = torch.tensor(list(COLOURS.values()), device=picture.device)
    light = 1 - 0.16 * (x + y) / r                                   # lit from the upper left
    colour = (palette[colour_of] + uniform(-0.03, 0.03, 3))[:, :, None, None] * light.unsqueeze(1)
    cover = (0.5 - body).clamp(0, 1).unsqueeze(1)
    return (picture * (1 - cover) + colour * cover).clamp(0, 1)


def background(uniform, height, width, device):
    """A nearly grey gradient in a random direction, (B, 3, H, W) in [0, 1]; uniform(low, high, *shape) gives random (B, *shape)."""
    level, tint = uniform(0.30, 0.85, 1, 1, 1), uniform(-0.045, 0.045, 3, 1, 1)
    angle, depth = uniform(0, 2 * torch.pi, 1, 1, 1), uniform(0.05, 0.28, 1, 1, 1)
    down, across = ((torch.arange(side, device=device) + 0.5) / side - 0.5 for side in (height, width))
    ramp = torch.cos(angle) * across[None, None, None, :] + torch.sin(angle) * down[None, None, :, None]
    return (level + tint + depth * ramp).clamp(0, 1)
