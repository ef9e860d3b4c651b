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
    axis = torch.arange(size, device=device) + 0.5
    x, y = axis[None, None, :] - cx, axis[None, :, None] - cy        # (B, H, W)

    shape_of, colour_of = labels // len(COLOURS), labels % len(COLOURS)
    body, shadow = torch.empty_like(x + y), torch.empty_like(x + y)
    for index, name in enumerate(SHAPES):
        rows = shape_of == index
        body[rows] = distance(name, x[rows], y[rows], r[rows])
        shadow[rows] = distance(name, x[rows] - 2 * unit, y[rows] - 3 * unit, r[rows])

    picture = background(uniform, axis / size)
    picture = picture * (1 - 0.35 * torch.sigmoid(-shadow / (1.2 * unit)).unsqueeze(1))
    palette = torch.tensor(list(COLOURS.values()), device=device)
    light = 1 - 0.16 * (x + y) / r                                   # lit from the upper left
    paint = (palette[colour_of] + uniform(-0.03, 0.03, 3))[:, :, None, None] * light.unsqueeze(1)
    cover = (0.5 - body).clamp(0, 1).unsqueeze(1)
    return (picture * (1 - cover) + paint * cover).clamp(0, 1) * 2 - 1


def background(uniform, axis):
    """A nearly grey gradient in a random direction, (B, 3, H, W) in [0, 1]."""
    level, tint = uniform(0.30, 0.85, 1, 1, 1), uniform(-0.045, 0.045, 3, 1, 1)
    angle, depth = uniform(0, 2 * torch.pi, 1, 1, 1), uniform(0.05, 0.28, 1, 1, 1)
    ramp = torch.cos(angle) * (axis[None, None, None, :] - 0.5) + torch.sin(angle) * (axis[None, None, :, None] - 0.5)
    return (level + tint + depth * ramp).clamp(0, 1)
