"""SeedVR2, of which only what it predicts is cached."""

from ...toca_core.system import System

SEEDVR2 = System(
    "seedvr2", "SeedVR2", ("comfy.ldm.seedvr.model.NaDiT",),
    notes="its last layer reads what its blocks leave behind, so they cannot be skipped alone")
