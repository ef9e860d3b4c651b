"""Krea 2; text, picture and references lie in one stream."""

from dataclasses import replace

from ...toca_core import published
from ...toca_core.costs.account import Sizes
from ...toca_core.families.parts import Part
from ...toca_core.system import System
from .attention import attending_named, parts
from .sizes import joined_sizes


def text_first(model, x, context, arguments) -> Sizes:
    sizes = joined_sizes(model, x, context, arguments)
    return replace(sizes, start=sizes.joined)


def single(arguments, call):
    """Positions are of each token, of text and pictures."""
    return {**arguments, "freqs": call.take_positions(arguments["freqs"], 0)}


KREA2 = System(
    "krea2", "Krea 2", ("comfy.ldm.krea2.model.SingleStreamDiT",),
    (parts("blocks", grid="", parts=(Part("self_attn", "attn"), Part("mlp")), attending=attending_named, single=single),), sizes=text_first,
    paper=lambda steps: published.FLUX, paper_of="FLUX.1")
