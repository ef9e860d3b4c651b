"""Mochi; picture and text are of different width."""

from ...toca_core.families.tokens import TokenStack
from ...toca_core.system import System

MOCHI = System(
    "mochi", "Mochi", ("comfy.ldm.genmo.joint_model.asymm_models_joint.AsymmDiTJoint",), (TokenStack("blocks", ("x", "y")),))
