"""ToCa Token Map: which tokens were recomputed how often, or how far off their forecasts were, over the result."""

from comfy_api.latest import io, ui

from .drawing.tokens import draw_maps, over_pictures
from .host.run_log import name_of
from .host.seam import log_of

TITLES = {"recomputed": "how often a token was recomputed", "error": "error of a token's forecasts"}


class ToCaTokenMap(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ToCaTokenMap",
            display_name="ToCa Token Map",
            category="model/patch",
            description="Shows token by token what ToCa Cache did in the run that made these pictures: how often each was recomputed, or "
                        "how large the error of its forecasts was. One map for each picture, or for each frame of a video.",
            search_aliases=["heat map", "attention map", "error map", "tokens", "overlay"],
            is_output_node=True,
            inputs=[
                io.Model.Input("model", tooltip="The model that was sampled, with ToCa Cache; other nodes may lie between."),
                io.Image.Input("images", tooltip="The decoded result: all pictures of the batch, or all frames of the video. The run shown "
                                                 "is the last one of the nearest sampler before them."),
                io.Combo.Input("what", options=list(TITLES), default="recomputed",
                               tooltip="recomputed: the share of the work on a token that was done. error: how far off its forecasts were "
                                       "at full steps, which only levels stack and output measure, with a tolerance or with "
                                       "the sampler euler."),
                io.Float.Input("opacity", default=0.6, min=0.0, max=1.0, step=0.05, optional=True,
                               tooltip="Of the map in the overlay: 0 shows the picture alone, 1 the map alone."),
            ],
            outputs=[
                io.Image.Output("map", tooltip="The maps, with their scale below; light is much."),
                io.Image.Output("overlay", tooltip="The same, laid over the pictures."),
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt],
        )

    @classmethod
    def execute(cls, model, images, what, opacity=0.6) -> io.NodeOutput:
        logged = log_of(model).nearest(cls.hidden.unique_id, cls.hidden.prompt)
        if logged is None:
            raise ValueError("No sampling run with this ToCa Cache came before this node: connect images to what was decoded from its "
                             "sampler's latent; if it is, queue with another seed, since the latent came from ComfyUI's cache.")
        maps = logged.maps
        if maps is None:
            raise ValueError(f"{name_of(logged, cls.hidden.prompt)} sampled its pictures in parts only (areas or context windows), of "
                             f"which no map of whole pictures can be made.")
        values = maps.recomputed if what == "recomputed" else maps.error
        if values is None:
            raise ValueError("The run measured no errors: choose what = recomputed, or let ToCa Cache measure them, with preset auto or, "
                             "with preset custom, level stack or output and a tolerance.")
        pictures = over_pictures(values, maps.latent, maps.patch, images.shape[:3])
        low, high = (float(values.min()) if what == "recomputed" else 0.0), float(values.max())
        words = tuple(f"{100 * value:.0f}%" if what == "recomputed" else f"{value:.2g}%" for value in (low, high))
        drawn = draw_maps(pictures, images, TITLES[what], (low, high), words, opacity)
        return io.NodeOutput(*drawn, ui=ui.PreviewImage(drawn[1]))
