"""Kandinsky 5, pictures and videos; the blocks of the text run on every step."""

from ...toca_core import published
from ...toca_core.families.parts import Part
from ...toca_core.system import System
from .attention import attending_first, parts, rows_of

KANDINSKY5 = System(
    "kandinsky5", "Kandinsky 5", ("comfy.ldm.kandinsky5.model.Kandinsky5",),
    (parts("visual_transformer_blocks", "visual_embed", parts=(
        Part("self_attn", "self_attention"), Part("cross_attn", "cross_attention", text=("to_key", "to_value")),
        Part("mlp", "feed_forward")), attending=attending_first, single=rows_of("freqs")),),
    paper=lambda steps: published.OPEN_SORA, paper_of="Open-Sora")
