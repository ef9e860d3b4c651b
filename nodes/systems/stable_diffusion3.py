"""Stable Diffusion 3 and 3.5; the last block returns no text."""

from ...toca_core.families.tokens import TokenStack
from ...toca_core.system import System

SD3 = System(
    "sd3", "Stable Diffusion 3, 3.5", ("comfy.ldm.modules.diffusionmodules.mmdit.OpenAISignatureMMDITWrapper",),
    (TokenStack("joint_blocks", (0, 1), 1),), loader="Load Checkpoint")
