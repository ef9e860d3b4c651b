"""What the pack adds to the host. Node ids are part of shared workflows and never change."""

from pathlib import Path

import folder_paths
from comfy_api.latest import ComfyExtension

from .host.prompts import shortener
from .host.publish import prompt_server
from .host.raylight import installed as raylight_installed
from .routes import add_routes
from .toca_cache import ToCaCache
from .toca_calibrate import ToCaCalibrate
from .toca_compare import ToCaCompare
from .toca_dit_class import ToCaDiTClass
from .toca_load_dit import ToCaLoadDiT
from .toca_load_open_sora import ToCaLoadOpenSora
from .toca_load_open_sora_vae import ToCaLoadOpenSoraVAE
from .toca_load_pixart import ToCaLoadPixArt
from .toca_open_sora_conditioning import ToCaOpenSoraConditioning
from .toca_open_sora_latent import ToCaOpenSoraLatent
from .toca_open_sora_scheduler import ToCaOpenSoraScheduler
from .toca_ratios import ToCaRatios
from .toca_raylight import ToCaCacheRaylight
from .toca_region_priority import ToCaRegionPriority
from .toca_report import ToCaReport
from .toca_token_map import ToCaTokenMap
from .toca_token_mask import ToCaTokenMask

NODES = (ToCaCache, ToCaLoadDiT, ToCaDiTClass, ToCaLoadPixArt, ToCaLoadOpenSora, ToCaLoadOpenSoraVAE, ToCaOpenSoraLatent,
         ToCaOpenSoraConditioning, ToCaOpenSoraScheduler, ToCaTokenMask, ToCaRegionPriority, ToCaCompare, ToCaRatios, ToCaReport,
         ToCaTokenMap, ToCaCalibrate)
BESIDE_RAYLIGHT = (ToCaCacheRaylight,)      # of use to nobody without it
BUNDLED = Path(__file__).resolve().parent.parent / "demo"


class ToCaExtension(ComfyExtension):
    async def on_load(self):
        """The demo model that comes with the pack appears among the diffusion models; the ratio chart finds its routes; prompts are
        looked at before they are checked."""
        folder_paths.add_model_folder_path("diffusion_models", str(BUNDLED))
        if server := prompt_server():
            add_routes(server.routes)
            server.add_on_prompt_handler(shortener(await self.get_node_list()))

    async def get_node_list(self):
        return [*NODES, *(BESIDE_RAYLIGHT if raylight_installed() else ())]
