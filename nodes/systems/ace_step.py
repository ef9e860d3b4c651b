"""ACE-Step 1.0 and 1.5, songs."""

from ...toca_core.families.tokens import TokenStack
from ...toca_core.system import System

ACE_STEP = System(
    "ace_step", "ACE-Step 1.0", ("comfy.ldm.ace.model.ACEStepTransformer2DModel",),
    (TokenStack("transformer_blocks", "hidden_states"),), loader="Load Checkpoint")

ACE_STEP_15 = System(
    "ace_step_15", "ACE-Step 1.5", ("comfy.ldm.ace.ace_step15.AceStepConditionGenerationModel",),
    (TokenStack("decoder.layers", "hidden_states", grid=""),))
