"""ToCa Token Mask: the part of the picture that is computed at every step."""

from comfy_api.latest import io

from .host.regions import MASK_KEY, TokenMask, with_option


class ToCaTokenMask(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ToCaTokenMask",
            display_name="ToCa Token Mask",
            category="model/patch",
            description="With ToCa Cache at level stack: tokens inside the mask are computed at every step, those outside on full steps "
                        "only. Put it before or after ToCa Cache. A latent's noise mask works without this node.",
            search_aliases=["inpaint", "region", "mask", "detail", "speed up"],
            inputs=[
                io.Model.Input("model", tooltip="The model, with or without ToCa Cache yet."),
                io.Mask.Input("mask", tooltip="White is computed at every step. Any size. One mask for all pictures, or one for each; for "
                                              "a video, masks that follow each other in time."),
                io.Int.Input("dilation", default=1, min=0, max=64, optional=True,
                             tooltip="How many tokens around the mask are computed with it. More is closer to the uncached picture, and "
                                     "slower."),
            ],
            outputs=[io.Model.Output(tooltip="The model, with the mask.")],
        )

    @classmethod
    def execute(cls, model, mask, dilation=1, **_) -> io.NodeOutput:
        return io.NodeOutput(with_option(model, MASK_KEY, TokenMask(mask, dilation)))
