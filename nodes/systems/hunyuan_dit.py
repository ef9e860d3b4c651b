"""Hunyuan-DiT; its long skips are popped by the model itself, whether its blocks run or not."""

from ...toca_core.families.tokens import TokenStack
from ...toca_core.system import System

HUNYUAN_DIT = System("hunyuan_dit", "Hunyuan-DiT", (
    "comfy.ldm.hydit.models.HunYuanDiT",), (TokenStack("blocks"),), loader="Load Checkpoint")
