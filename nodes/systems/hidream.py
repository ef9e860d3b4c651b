"""HiDream-I1 and E1; text is put behind the picture before every block, and cut off after it."""

from ...toca_core import published
from ...toca_core.families.parts import Part
from ...toca_core.system import System
from .attention import parts

HIDREAM = System(
    "hidream", "HiDream-I1, E1", ("comfy.ldm.hidream.model.HiDreamImageTransformer2DModel",),
    (parts("double_stream_blocks", ("image_tokens", "text_tokens"), grid="", name="double", parts=(
        Part("self_attn", "block.attn1", {"img": "norm_image_tokens", "txt": "norm_text_tokens"},
             text=("to_q_t", "to_k_t", "to_v_t", "to_out_t")),
        Part("mlp", "block.ff_i", {"img": 0}), Part("mlp", "block.ff_t", {"txt": 0}))),
     parts("single_stream_blocks", "image_tokens", side="first", name="single", parts=(
         Part("self_attn", "block.attn1"), Part("mlp", "block.ff_i")))),
    paper=lambda steps: published.FLUX, paper_of="FLUX.1")
