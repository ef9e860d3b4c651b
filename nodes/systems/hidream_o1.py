"""HiDream-O1, which keeps the prompt's keys and values on the model from its first call on."""

from ...toca_core.system import System

HIDREAM_O1 = System(
    "hidream_o1", "HiDream-O1", ("comfy.ldm.hidream_o1.model.HiDreamO1Transformer",),
    notes="its blocks keep keys and values from one call to the next, so none may be skipped alone")
