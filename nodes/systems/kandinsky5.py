"""Kandinsky 5, pictures and videos; the blocks of the text run on every step."""

from ...toca_core.families.tokens import TokenStack
from ...toca_core.system import System

KANDINSKY5 = System(
    "kandinsky5", "Kandinsky 5", ("comfy.ldm.kandinsky5.model.Kandinsky5",), (TokenStack("visual_transformer_blocks", "visual_embed"),))
