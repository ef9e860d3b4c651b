"""Wan 2.1 and 2.2 in all the forms that the host knows; two experts are two sampling runs."""

from ...toca_core.families.layout import SideStack
from ...toca_core.families.tokens import TokenStack
from ...toca_core.system import System

PLACE = "comfy.ldm.wan.model."

WAN = System(
    "wan", "Wan 2.1, 2.2", (f"{PLACE}WanModel", f"{PLACE}CameraWanModel"), (TokenStack("blocks"),))

WAN_VACE = System(
    "wan_vace", "Wan VACE", (f"{PLACE}VaceWanModel",), (TokenStack("blocks"),), (SideStack("vace_blocks", 2),))
