"""ToCa Region Priority: where tokens are recomputed sooner."""

from comfy_api.latest import io

from ..toca_core.checks import Number
from .host.regions import PRIORITY_KEY, RegionPriority, with_option


class ToCaRegionPriority(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ToCaRegionPriority",
            display_name="ToCa Region Priority",
            category="model/patch",
            description="Where ToCa Cache chooses tokens to recompute, those in the bright parts of the mask go first. "
                        "Put it before or after ToCa Cache.",
            search_aliases=["region", "mask", "attention", "detail", "face"],
            inputs=[
                io.Model.Input("model", tooltip="The model, with or without ToCa Cache yet."),
                io.Mask.Input("mask", tooltip="White is recomputed first, grey less soon, black as without a mask. Any size. One mask for "
                                              "all pictures, or one for each; for a video, masks that follow each other in time."),
                io.Float.Input("strength", default=1.0, min=0.0, max=100.0, step=0.1, optional=True,
                               tooltip="A token's score is multiplied by 1 + strength x mask."),
            ],
            outputs=[io.Model.Output(tooltip="The model, with the priority.")],
        )

    @classmethod
    def execute(cls, model, mask, strength=1.0, **_) -> io.NodeOutput:
        Number(0, 100)("strength", strength)                        # the host lets a value pass that is no number, or comes by a link
        return io.NodeOutput(with_option(model, PRIORITY_KEY, RegionPriority(mask, strength)))
