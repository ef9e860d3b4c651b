"""Models whose features change size on the way, so that no one residual stands for all of it: what they predict is cached."""

from ...toca_core.system import System

UNETS = System(
    "unet", "Stable Diffusion 1.5, 2, SDXL, SVD and every other UNet", ("comfy.ldm.modules.diffusionmodules.openaimodel.UNetModel",),
    loader="Load Checkpoint")

CASCADE = System(
    "cascade", "Stable Cascade", ("comfy.ldm.cascade.stage_b.StageB", "comfy.ldm.cascade.stage_c.StageC"), loader="Load Checkpoint")
