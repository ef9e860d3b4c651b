"""OmniGen2; text and references come before the picture, and the refiners run on every step."""

from ...toca_core import published
from ...toca_core.families.parts import Part
from ...toca_core.system import System
from .attention import attending_named, parts, rows_of
from .sizes import joined_sizes

OMNIGEN2 = System(
    "omnigen2", "OmniGen2", ("comfy.ldm.omnigen.omnigen2.OmniGen2Transformer2DModel",),
    (parts("layers", "hidden_states", grid="last", parts=(Part("self_attn", "attn"), Part("mlp", "feed_forward")),
           attending=attending_named, single=rows_of("image_rotary_emb")),),
    sizes=joined_sizes, text_masked=True,
    paper=lambda steps: published.FLUX, paper_of="FLUX.1")
