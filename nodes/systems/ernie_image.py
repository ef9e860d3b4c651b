"""ERNIE-Image; the picture lies before the text."""

from ...toca_core.families.tokens import TokenStack
from ...toca_core.system import System
from .sizes import joined_sizes

ERNIE_IMAGE = System(
    "ernie_image", "ERNIE-Image", ("comfy.ldm.ernie.model.ErnieImageModel",), (TokenStack("layers", grid="first"),), sizes=joined_sizes)
