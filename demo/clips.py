"""The third demo data set: short clips of discs that move, before a background that stands still or moves with the camera.

"still red left": in a still clip one disc moves and one does not; when the camera pans all move alike; a busy clip has three discs, each
with a way of its own. A caption becomes a fixed embedding, as in `scenes.py`.
"""

import torch

from demo.shapes import COLOURS

FRAMES, SIZE = 8, 24
KINDS = ("still", "pan", "busy")
WAYS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
WORDS = (*KINDS, *COLOURS, *WAYS)
TOKENS = 3                          # a kind, a colour and a way
CHANNELS = len(WORDS)
NOTHING = -1
DISCS = 3
NEAR, LEAST, FAR = 0.12, 6, 2.5     # a colour's square distance, its pixels in a frame, and how many it goes, for `shown`


def indices(captions: list[str]):
    """Captions -> (B, TOKENS) indices of words; "" says nothing. Raises ValueError for what no clip shows."""
    rows = []
    for caption in captions:
        words = caption.split()
        if words and (len(words) != TOKENS or any(word not in of for word, of in zip(words, (KINDS, COLOURS, WAYS), strict=True))):
            raise ValueError(f"The caption {caption!r} is no clip such as 'still red left': {', '.join(KINDS)}; {', '.join(COLOURS)}; "
                             f"{', '.join(WAYS)}.")
        rows.append([WORDS.index(word) for word in words] or [NOTHING] * TOKENS)
    return torch.tensor(rows)


def caption(words) -> str:
    """The caption of one row of `indices`."""
    return " ".join(WORDS[index] for index in words if index != NOTHING)


def choose(count: int, generator=None, device="cpu", kind: str | None = None):
    """Random clips, of one kind or of all, (count, TOKENS) indices."""
    starts = torch.tensor([0, len(KINDS), len(KINDS) + len(COLOURS)], device=device)
    sizes = torch.tensor([len(KINDS), len(COLOURS), len(WAYS)], device=device)
    words = starts + (torch.rand(count, TOKENS, generator=generator, device=device) * sizes).long()
    if kind is not None:
        words[:, 0] = KINDS.index(kind)
    return words


def embed(words):
    """(B, TOKENS) indices -> what the model reads, (B, TOKENS, CHANNELS); zeros where nothing is said."""
    return torch.nn.functional.one_hot(words + 1, CHANNELS + 1)[..., 1:].float()


def shown(clip, words) -> bool:
    """Whether in a clip (3, FRAMES, SIZE, SIZE) in [-1, 1] what has the caption's colour goes its way."""
    colour, way = words[1] - len(KINDS), words[2] - len(KINDS) - len(COLOURS)
    palette = torch.tensor(list(COLOURS.values()), device=clip.device)
    apart = ((clip.movedim(0, -1) + 1) / 2 - palette[colour]).square().sum(-1)              # (FRAMES, SIZE, SIZE)
    place = torch.arange(SIZE, device=clip.device, dtype=clip.dtype)
    centres = []
    for frame in (apart[0], apart[-1]):
        cover = (frame < NEAR).to(clip.dtype)
        if cover.sum() < LEAST:
            return False
        centres.append(torch.stack(((cover.sum(0) * place).sum(), (cover.sum(1) * place).sum())) / cover.sum())
    gone = (centres[1] - centres[0]) @ torch.tensor(list(WAYS.values()), device=clip.device, dtype=clip.dtype)[way]
    return bool(gone > FAR)


def draw(words, generator=None):
    """(B, TOKENS) indices -> clips (B, 3, FRAMES, SIZE, SIZE) in [-1, 1], on their device."""
    device, count = words.device, len(words)

    def uniform(low, high, *shape):
        return low + (high - low) * torch.rand(count, *shape, generator=generator, device=device)

    kind, colour, way = words[:, 0], words[:, 1] - len(KINDS), words[:, 2] - len(KINDS) - len(COLOURS)
    time = torch.arange(FRAMES, device=device) - (FRAMES - 1) / 2
    ways = torch.tensor(list(WAYS.values()), device=device, dtype=torch.float32)
    velocity = ways[way] * uniform(0.9, 1.4, 1)                     # (B, 2), pixels per frame, of the first disc or of the camera
    panned = (kind == 1)[:, None]
    camera = torch.where(panned, velocity, 0.0)[..., None] * time  # (B, 2, FRAMES)

    clip = background(uniform, camera, device)
    palette = torch.tensor(list(COLOURS.values()), device=device)
    for number in range(DISCS):
        own = velocity if number == 0 else uniform(-1.3, 1.3, 2)
        moving = (kind == 2) | ((kind == 0) & (number == 0))
        path = torch.where(moving[:, None], own, 0.0)[..., None] * time + camera
        centre = SIZE / 2 + uniform(-6.5, 6.5, 2, 1) * (1 if number else 0.5) + path        # (B, 2, FRAMES)
        which = colour if number == 0 else (colour + number) % len(COLOURS)
        present = torch.ones_like(panned[:, 0]) if number < 2 else kind == 2
        clip = painted(clip, centre, uniform(2.8, 4.2, 1, 1, 1), palette[which], present)
    return clip * 2 - 1


def background(uniform, camera, device):
    """Two waves on a nearly grey ground, (B, 3, FRAMES, SIZE, SIZE) in [0, 1], as far along as the camera is, (B, 2, FRAMES)."""
    place = torch.arange(SIZE, device=device) + 0.5
    x, y = place - camera[:, 0, :, None], place - camera[:, 1, :, None]                     # (B, FRAMES, SIZE) each
    ground = uniform(0.35, 0.75, 1, 1, 1, 1) + uniform(-0.05, 0.05, 3, 1, 1, 1)
    for _ in range(2):
        across, down, phase = uniform(-0.7, 0.7, 1, 1), uniform(-0.7, 0.7, 1, 1), uniform(0, 2 * torch.pi, 1, 1)
        wave = torch.sin((across * x + phase)[:, :, None, :] + (down * y)[..., None])
        ground = ground + uniform(0.04, 0.09, 1, 1, 1, 1) * wave[:, None]
    return ground.clamp(0, 1)


def painted(clip, centre, radius, colour, present):
    """A disc on each clip; centre (B, 2, FRAMES), radius (B, 1, 1, 1), colour (B, 3), present (B,)."""
    place = torch.arange(SIZE, device=clip.device) + 0.5
    x, y = place - centre[:, 0, :, None], place - centre[:, 1, :, None]                     # (B, FRAMES, SIZE) each
    cover = (0.5 + radius - torch.hypot(x[:, :, None, :], y[..., None])).clamp(0, 1) * present[:, None, None, None]
    return clip * (1 - cover[:, None]) + colour[:, :, None, None, None] * cover[:, None]
