"""The second demo data set: two or three objects side by side, as their caption says from left to right.

"red circle, blue square, green diamond": objects are classes of `shapes.py`, and place, size, light and background vary a little.
A caption becomes a fixed embedding, so that no text encoder is needed: every word is a token that names the word and its object.
"""

import torch

from demo import shapes

HEIGHT, WIDTH = 32, 64
OBJECTS = 3                         # at most; the least is one fewer
WORDS = (*shapes.COLOURS, *shapes.SHAPES)
TOKENS = 2 * OBJECTS                # a colour and a shape for each object
CHANNELS = len(WORDS) + 1 + OBJECTS             # of a token: which word, one for no word, which object
NOTHING = -1
UNIT = 0.5                          # pixels that are one in shapes.py


def indices(captions: list[str]):
    """Captions -> (B, OBJECTS) class indices of `shapes.CLASSES`, NOTHING where there is no object; "" has none.

    Raises ValueError for an object that no picture has, and for more than OBJECTS of them.
    """
    rows = []
    for caption in captions:
        names = [name.strip() for name in caption.split(",")] if caption else []
        if len(names) > OBJECTS or not set(names) <= set(shapes.CLASSES):
            raise ValueError(f"The caption {caption!r} is no list of up to {OBJECTS} objects such as 'red circle, blue square'; colours "
                             f"are {', '.join(shapes.COLOURS)}, shapes {', '.join(shapes.SHAPES)}.")
        rows.append([shapes.CLASSES.index(name) for name in names] + [NOTHING] * (OBJECTS - len(names)))
    return torch.tensor(rows)


def caption(objects) -> str:
    """The caption of one row of `indices`."""
    return ", ".join(shapes.CLASSES[index] for index in objects if index != NOTHING)


def choose(count: int, generator=None, device="cpu"):
    """Random scenes, (count, OBJECTS) class indices; half of them have two objects."""
    objects = torch.randint(len(shapes.CLASSES), (count, OBJECTS), generator=generator, device=device)
    fewer = torch.rand(count, generator=generator, device=device) < 0.5
    objects[fewer, -1] = NOTHING
    return objects


def embed(objects):
    """(B, OBJECTS) class indices -> what the model reads: tokens (B, TOKENS, CHANNELS), and how often each word comes, (B, len(WORDS))."""
    words = torch.stack((objects % len(shapes.COLOURS), len(shapes.COLOURS) + objects // len(shapes.COLOURS)), -1)     # (B, OBJECTS, 2)
    words = torch.where(objects.unsqueeze(-1) == NOTHING, len(WORDS), words)
    named = torch.nn.functional.one_hot(words.flatten(1), len(WORDS) + 1).float()           # (B, TOKENS, len(WORDS) + 1)
    order = torch.eye(OBJECTS, device=objects.device).repeat_interleave(2, 0).expand(len(objects), -1, -1)
    return torch.cat((named, order), -1), named[..., :-1].sum(1)


def draw(objects, generator=None):
    """(B, OBJECTS) class indices -> pictures (B, 3, HEIGHT, WIDTH) in [-1, 1], on their device."""
    device, number = objects.device, len(objects)

    def uniform(low, high, *shape):
        return low + (high - low) * torch.rand(number, *shape, generator=generator, device=device)

    picture = shapes.background(uniform, HEIGHT, WIDTH, device)
    present = objects != NOTHING                                    # (B, OBJECTS)
    pitch = (WIDTH / present.sum(1).clamp(min=1))[:, None, None]
    for place in range(OBJECTS):
        cx, cy = (place + 0.5) * pitch + uniform(-1.2, 1.2, 1, 1), HEIGHT / 2 + uniform(-5, 5, 1, 1)
        painted = shapes.paint(picture, objects[:, place].clamp(min=0), cx, cy, uniform(6.5, 8.2, 1, 1), UNIT, uniform)
        picture = torch.where(present[:, place, None, None, None], painted, picture)
    return picture * 2 - 1
