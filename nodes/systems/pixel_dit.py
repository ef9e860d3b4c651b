"""PixelDiT and PiD, in pixels; the blocks that draw them run on every step."""

from ...toca_core.families.tokens import TokenStack
from ...toca_core.system import System

PIXEL_DIT = System(
    "pixel_dit", "PixelDiT, PiD", ("comfy.ldm.pixeldit.model.PixDiT_T2I", "comfy.ldm.pixeldit.pid.PidNet"),
    (TokenStack("patch_blocks", ("x", "y")),))
