"""ToCa Load Open-Sora VAE: Open-Sora 1.2's video VAE, as a VAE for the host's own nodes."""

import folder_paths
from comfy_api.latest import io

from .choices import check_choices
from .models.open_sora_vae import load_open_sora_vae


class ToCaLoadOpenSoraVAE(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ToCaLoadOpenSoraVAE",
            display_name="ToCa Load Open-Sora VAE",
            category="model/loaders",
            description="Loads the video VAE of Open-Sora 1.2 for VAE Decode, VAE Encode and their tiled versions.",
            inputs=[
                io.Combo.Input("vae_name", options=folder_paths.get_filename_list("vae"),
                               tooltip="The VAE of Open-Sora 1.2 in models/vae: one file with both its halves, spatial and temporal."),
                # fp16 is not offered: the image half overflows in it.
                io.Combo.Input("weight_dtype", options=["default", "bf16", "fp32"], default="default", optional=True, advanced=True,
                               tooltip="Precision in memory; default lets the host choose."),
            ],
            outputs=[io.Vae.Output()],
        )

    @classmethod
    def execute(cls, vae_name, weight_dtype="default", **_) -> io.NodeOutput:
        check_choices(cls, weight_dtype=weight_dtype)
        return io.NodeOutput(load_open_sora_vae(folder_paths.get_full_path_or_raise("vae", vae_name), weight_dtype))
