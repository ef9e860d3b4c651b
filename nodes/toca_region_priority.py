"""ToCa Region Priority: where tokens are recomputed sooner."""

from comfy_api.latest import io

from ..toca_core.config import number
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
                io.Mask.Input("mask", tooltip="White goes first, grey in between, black as ever; any size. One for all pictures, or one "
                                              "for each; for a video, its moments."),
                io.Float.Input("strength", default=1.0, min=0.0, max=100.0, step=0.1, optional=True,
                               tooltip="A token's score counts 1 + strength x mask times."),
            ],
            outputs=[io.Model.Output(tooltip="The model, with the priority.")],
        )

    @classmethod
    def execute(cls, model, mask, strength=1.0, **_) -> io.NodeOutput:
        number(0, 100)("strength", strength)                        # the host lets a value pass that is no number, or comes by a link
        return io.NodeOutput(with_option(model, PRIORITY_KEY, RegionPriority(mask, strength)))
