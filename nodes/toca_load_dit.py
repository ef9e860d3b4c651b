"""ToCa Load DiT: class-conditional DiT checkpoints, which the host cannot load itself."""

import folder_paths
from comfy_api.latest import io

from .choices import check_choices
from .models.dit_loader import GUIDED_CHANNELS, guide_first, load_dit
from .models.loading import DTYPES


class ToCaLoadDiT(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ToCaLoadDiT",
            display_name="ToCa Load DiT",
            category="model/loaders",
            description="Loads a class-conditional DiT (facebookresearch/DiT, .safetensors or .pt). "
                        "The pack's own small demo model is in the list.",
            inputs=[
                io.Combo.Input("model_name", options=folder_paths.get_filename_list("diffusion_models"),
                               tooltip="A DiT checkpoint in models/diffusion_models. All sizes are read from the file."),
                io.Combo.Input("weight_dtype", options=list(DTYPES), default="default", optional=True, advanced=True,
                               tooltip="Precision of the weights in memory; default lets the host choose."),
                io.Int.Input("num_heads", default=0, min=0, max=256, optional=True, advanced=True,
                             tooltip="Attention heads, the one size a checkpoint does not show. "
                                     "0: as the file says, or the released models'."),
                io.Combo.Input("guidance_channels", options=list(GUIDED_CHANNELS), default="all", optional=True, advanced=True,
                               tooltip="Which channels of the latent cfg steers. all: as for any other model. "
                                       "first three: as the released sampler does, to reproduce its pictures."),
            ],
            outputs=[io.Model.Output()],
        )

    @classmethod
    def execute(cls, model_name, weight_dtype="default", num_heads=0, guidance_channels="all", **_) -> io.NodeOutput:
        check_choices(cls, weight_dtype=weight_dtype, guidance_channels=guidance_channels)
        path = folder_paths.get_full_path_or_raise("diffusion_models", model_name)
        model = load_dit(path, weight_dtype, num_heads)
        if channels := GUIDED_CHANNELS[guidance_channels]:
            guide_first(model, channels)
        return io.NodeOutput(model)
