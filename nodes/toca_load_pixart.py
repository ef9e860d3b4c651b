"""ToCa Load PixArt: PixArt-alpha and Sigma from 256 px up, with the latents they were trained on."""

import folder_paths
from comfy_api.latest import io

from .choices import check_choices
from .models.loading import DTYPES
from .models.pixart import VERSIONS, load_pixart


class ToCaLoadPixArt(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ToCaLoadPixArt",
            display_name="ToCa Load PixArt",
            category="model/loaders",
            description="Loads PixArt-alpha or PixArt-Sigma so that it works from 256 to 1024 px and with the right latent scale.",
            inputs=[
                io.Combo.Input("model_name", options=folder_paths.get_filename_list("diffusion_models"),
                               tooltip="A PixArt checkpoint in models/diffusion_models, in the original or the diffusers layout."),
                io.Combo.Input("weight_dtype", options=list(DTYPES), default="default", optional=True, advanced=True,
                               tooltip="Precision of the weights in memory; default lets the host choose."),
                io.Combo.Input("version", options=["auto", *VERSIONS], default="auto", optional=True, advanced=True,
                               tooltip="Which latents and positions the model was trained on; auto tells by the caption length "
                                       "(120 alpha, 300 Sigma). PixArt-alpha 256: its 256 px file in the diffusers layout."),
                io.Int.Input("num_heads", default=0, min=0, max=256, optional=True, advanced=True,
                             tooltip="Attention heads, the one size a checkpoint does not show. "
                                     "0: as the file says, or the released models'."),
            ],
            outputs=[io.Model.Output()],
        )

    @classmethod
    def execute(cls, model_name, weight_dtype="default", version="auto", num_heads=0, **_) -> io.NodeOutput:
        check_choices(cls, weight_dtype=weight_dtype, version=version)
        path = folder_paths.get_full_path_or_raise("diffusion_models", model_name)
        return io.NodeOutput(load_pixart(path, weight_dtype, version, num_heads))
