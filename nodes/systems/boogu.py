"""Boogu; references come before the picture, and the refiners run on every step."""

from ...toca_core.families.tokens import TokenStack
from ...toca_core.system import System

BOOGU = System(
    "boogu", "Boogu", ("comfy.ldm.boogu.model.BooguTransformer2DModel",),
    (TokenStack("double_stream_layers", ("img_hidden_states", "instruct_hidden_states"), grid="last"),
     TokenStack("single_stream_layers", "hidden_states", side="last")))
