"""ToCa Load Open-Sora: the video transformer of Open-Sora 1.2, which the host cannot load itself."""

import folder_paths
from comfy_api.latest import io

from .choices import check_choices
from .models.loading import DTYPES
from .models.stdit3_loader import load_stdit3


class ToCaLoadOpenSora(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ToCaLoadOpenSora",
            display_name="ToCa Load Open-Sora",
            category="model/loaders",
            description="Loads the transformer of Open-Sora 1.2 (STDiT3), which draws videos and pictures from a prompt.",
            inputs=[
                io.Combo.Input("model_name", options=folder_paths.get_filename_list("diffusion_models"),
                               tooltip="An Open-Sora 1.2 checkpoint in models/diffusion_models. All sizes are read from the file."),
                io.Combo.Input("weight_dtype", options=list(DTYPES), default="default", optional=True, advanced=True,
                               tooltip="Precision of the weights in memory; default lets the host choose."),
            ],
            outputs=[io.Model.Output()],
        )

    @classmethod
    def execute(cls, model_name, weight_dtype="default", **_) -> io.NodeOutput:
        check_choices(cls, weight_dtype=weight_dtype)
        path = folder_paths.get_full_path_or_raise("diffusion_models", model_name)
        return io.NodeOutput(load_stdit3(path, weight_dtype))
