"""AuraFlow; eight registers lie with the text."""

from ...toca_core.families.tokens import TokenStack
from ...toca_core.system import System

AURA_FLOW = System(
    "aura_flow", "AuraFlow", ("comfy.ldm.aura.mmdit.MMDiT",),
    (TokenStack("double_layers", ("c", "x"), "x"), TokenStack("single_layers", "cx", side="last")), loader="Load Checkpoint")
