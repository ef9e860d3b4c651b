"""Hunyuan3D 2.0, made of FLUX's blocks, and 2.1, whose points have a token of time before them; what they draw are points."""

from ...toca_core.families.tokens import TokenStack
from ...toca_core.system import System

HUNYUAN3D = System(
    "hunyuan3d", "Hunyuan3D 2.0", ("comfy.ldm.hunyuan3d.model.Hunyuan3Dv2",),
    (TokenStack("double_blocks", ("img", "txt"), "img"), TokenStack("single_blocks", side="last")), loader="Load Checkpoint")

HUNYUAN3D_21 = System(
    "hunyuan3d_21", "Hunyuan3D 2.1", ("comfy.ldm.hunyuan3dv2_1.hunyuandit.HunYuanDiTPlain",),
    (TokenStack("blocks", "hidden_states", grid="last"),), loader="Load Checkpoint")
