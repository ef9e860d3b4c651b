"""Wan 2.1 and 2.2 in all the forms that the host knows; two experts are two sampling runs."""

from dataclasses import replace

from ...toca_core import published
from ...toca_core.families.layout import SideStack
from ...toca_core.families.parts import Part
from ...toca_core.families.tokens import TokenStack
from ...toca_core.system import System
from .attention import attending_first, parts

PLACE = "comfy.ldm.wan.model."


def context_of(attention, args, kwargs) -> int:
    """Of a picture and of text; without a picture what reads it reads the text too."""
    twice = hasattr(attention, "k_img") and kwargs.get("context_img_len") is None
    return args[1].shape[:-1].numel() * (2 if twice else 1)


def single(arguments, call):
    """Positions are for each token, modulations for all of them or for each frame."""
    modulation = arguments["e"]
    return {**arguments, "freqs": call.cut(arguments["freqs"]), "e": call.cut(modulation) if modulation.ndim == 4 else modulation}


BLOCKS = parts("blocks", parts=(
    Part("self_attn"), Part("cross_attn", text=("k", "v"), beside=("k_img", "v_img"), context=context_of), Part("mlp", "ffn")),
    attending=attending_first, single=single)

WAN = System(
    "wan", "Wan 2.1 and 2.2: text, picture, camera, control, SCAIL",
    tuple(f"{PLACE}{kind}WanModel" for kind in ("", "Camera", "SCAIL", "SCAIL2")), (BLOCKS,),
    paper=lambda steps: published.OPEN_SORA, paper_of="Open-Sora")

WAN_DANCER = System(
    "wan_dancer", "WanDancer", ("comfy.ldm.wan.model_wandancer.WanDancerModel",), (replace(BLOCKS, attending=None),),
    paper=lambda steps: published.OPEN_SORA, paper_of="Open-Sora", notes="music comes in between the blocks, for all tokens")

WAN_GUIDED = System(
    "wan_guided", "Wan S2V, HuMo, Animate", (f"{PLACE}WanModel_S2V", f"{PLACE}HumoWanModel", "comfy.ldm.wan.model_animate.AnimateWanModel"),
    (TokenStack("blocks"),), notes="sound and movement come in between the blocks and inside them")

WAN_VACE = System(
    "wan_vace", "Wan VACE", (f"{PLACE}VaceWanModel",), (BLOCKS,), (SideStack("vace_blocks", "vace_layers_mapping"),),
    paper=lambda steps: published.OPEN_SORA, paper_of="Open-Sora")

WAN_CAUSAL = System(
    "wan_causal", "Wan, causal", ("comfy.ldm.wan.ar_model.CausalWanModel",),
    plain="its blocks write keys and values that later frames read, so none may be skipped")
