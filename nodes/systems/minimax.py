"""MiniMax H3: video and sound of one sample, each on a noise level of its own (comfy/ldm/minimax/model.py)."""

import math

from ...toca_core.calls.context import Part
from ...toca_core.system import System

SHIFTS = "minimax_h3_sigma_shift_video", "minimax_h3_sigma_shift_audio"


def parts(model, sigma: float, shapes, options: dict) -> tuple[Part, ...]:
    """The video's noise level is the run's; the sound's follows it through the unshifted one."""
    video, sound = (options.get(name, getattr(model, name.removeprefix("minimax_h3_"), 1.0)) for name in SHIFTS)
    base = sigma / (video + sigma * (1 - video))
    own = sound * base / (1 + (sound - 1) * base)
    slope = sound * (1 + (video - 1) * base) ** 2 / (video * (1 + (sound - 1) * base) ** 2)
    counts = [math.prod(shape[1:]) for shape in shapes]
    return Part(counts[0], sigma), *(Part(count, own, slope) for count in counts[1:])


MINIMAX = System(
    "minimax", "MiniMax H3", ("comfy.ldm.minimax.model.MiniMaxH3Model",), parts=parts,
    notes="picture and sound of one sample run on noise levels of their own")
