"""Lumina 2, NewBie and Z-Image; text, picture and padding lie in one stream, and the refiners before it run on every step."""

from dataclasses import replace

from ...toca_core import published
from ...toca_core.costs.account import Sizes
from ...toca_core.families.parts import Part
from ...toca_core.system import System
from .attention import attending_named, parts, rows_of
from .sizes import joined_sizes


def padded_sizes(model, x, context, arguments) -> Sizes:
    """Z-Image pads text and picture, each to a multiple of so many tokens; reference pictures come with texts and padding of their own."""
    sizes = joined_sizes(model, x, context, arguments)
    if arguments.get("ref_latents"):
        return sizes
    multiple = getattr(model, "pad_tokens_multiple", None) or 1
    joined = sizes.joined + -sizes.joined % multiple
    return replace(sizes, joined=joined, beside=-sizes.tokens % multiple, start=joined)


LUMINA = System(
    "lumina", "Lumina 2, NewBie, Z-Image", ("comfy.ldm.lumina.model.NextDiT", "comfy.ldm.lumina.model.NextDiTPixelSpace"),
    (parts("layers", grid="", parts=(Part("self_attn", "attention"), Part("mlp", "feed_forward")),
           attending=attending_named, single=rows_of("freqs_cis")),),
    sizes=padded_sizes, says_picture=lambda model: type(model).__name__ == "NextDiTPixelSpace",
    paper=lambda steps: published.FLUX, paper_of="FLUX.1")
