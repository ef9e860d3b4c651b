"""HiDream-I1 and E1; text is put behind the picture before every block, and cut off after it."""

from ...toca_core.families.tokens import TokenStack
from ...toca_core.system import System

HIDREAM = System(
    "hidream", "HiDream-I1, E1", ("comfy.ldm.hidream.model.HiDreamImageTransformer2DModel",),
    (TokenStack("double_stream_blocks", ("image_tokens", "text_tokens"), grid=""),
     TokenStack("single_stream_blocks", "image_tokens", side="first")))
