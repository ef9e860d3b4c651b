"""Wan 2.1 and 2.2 in all the forms that the host knows; two experts are two sampling runs."""

from ...toca_core.families.layout import SideStack
from ...toca_core.families.tokens import TokenStack
from ...toca_core.system import System

PLACE = "comfy.ldm.wan.model."

WAN = System(
    "wan", "Wan 2.1 and 2.2: text, picture, camera, control, speech, HuMo, Animate, dance, SCAIL",
    (*(f"{PLACE}{kind}WanModel" for kind in ("", "Camera", "Humo", "SCAIL", "SCAIL2")), f"{PLACE}WanModel_S2V",
     "comfy.ldm.wan.model_animate.AnimateWanModel", "comfy.ldm.wan.model_wandancer.WanDancerModel"), (TokenStack("blocks"),))

WAN_VACE = System(
    "wan_vace", "Wan VACE", (f"{PLACE}VaceWanModel",), (TokenStack("blocks"),), (SideStack("vace_blocks", "vace_layers_mapping"),))

WAN_CAUSAL = System(
    "wan_causal", "Wan, causal", ("comfy.ldm.wan.ar_model.CausalWanModel",),
    plain="its blocks write keys and values that later frames read, so none may be skipped")
