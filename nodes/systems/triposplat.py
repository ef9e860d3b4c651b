"""TripoSplat; points, condition and camera lie in one stream, and two heads read it."""

from ...toca_core.families.tokens import TokenStack
from ...toca_core.system import System

TRIPOSPLAT = System(
    "triposplat", "TripoSplat", ("comfy.ldm.triposplat.model.LatentSeqMMFlowModel",), (TokenStack("blocks", grid=""),))
