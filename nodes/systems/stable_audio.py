"""Stable Audio; a few tokens lie before the sound."""

from ...toca_core.families.tokens import TokenStack
from ...toca_core.system import System

STABLE_AUDIO = System(
    "stable_audio", "Stable Audio 1, 3", ("comfy.ldm.audio.dit.AudioDiffusionTransformer",),
    (TokenStack("transformer.layers", grid=""),), loader="Load Checkpoint")
