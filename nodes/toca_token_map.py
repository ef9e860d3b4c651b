"""ToCa Token Map: which tokens were recomputed how often, or how far off their forecasts were, over the result."""

from comfy_api.latest import io, ui

from .choices import check_choices
from .drawing.canvas import as_images
from .drawing.report import draw_sentence
from .drawing.tokens import draw_maps, over_pictures
from .host.run_log import LoggedRun, name_of, why_none
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
                io.Model.Input("model", tooltip="The model that was sampled, with ToCa Cache. Other nodes may stand in between."),
                io.Image.Input("images", tooltip="The decoded result: all pictures of the batch, or all frames of the video. The run shown "
                                                 "is the last one of the nearest sampler before them."),
                io.Combo.Input("what", options=list(TITLES), default="recomputed", optional=True,
                               tooltip="recomputed: the share of each token's work that was done. error: how far off its forecasts were, "
                                       "as measured at full steps. Only levels stack and output measure it, with a tolerance or with "
                                       "a sampler whose errors are taken back."),
                io.Float.Input("opacity", default=0.6, min=0.0, max=1.0, step=0.05, optional=True,
                               tooltip="How much the map covers the picture in the overlay: 0 shows the picture alone, 1 the map alone."),
            ],
            outputs=[
                io.Image.Output("map", tooltip="The maps, with their scale below; the lighter, the more. If there is none, a sentence says "
                                                 "why."),
                io.Image.Output("overlay", tooltip="The maps laid over the pictures. If there is none, the pictures as they came in."),
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt],
        )

    @classmethod
    def execute(cls, model, images, what="recomputed", opacity=0.6, **_) -> io.NodeOutput:
        check_choices(cls, what=what)
        node, prompt, log = cls.hidden.unique_id, cls.hidden.prompt, log_of(model)
        logged = log.nearest(node, prompt) if log is not None else None
        if logged is None:
            return without_map(images, why_none(log, node, prompt, "images"))
        maps = logged.maps
        values = None if maps is None else maps.recomputed if what == "recomputed" else maps.error
        if problem := refusal(logged, values, len(images), prompt):
            return without_map(images, problem)
        assert maps is not None and values is not None          # or there was a problem
        pictures = over_pictures(values, maps.latent, maps.patch, images.shape[:3])
        known = values[values.isfinite()]
        low, high = (float(known.min()) if what == "recomputed" else 0.0), float(known.max())
        words = [f"{100 * value:.0f}%" if what == "recomputed" else f"{value:.2g}%" for value in (low, high)]
        drawn = draw_maps(pictures, images, title(what, values), (low, high), (words[0], words[1]), opacity)
        return io.NodeOutput(*drawn, ui=ui.PreviewImage(drawn[1]))


def title(what: str, values) -> str:
    """What the map shows, and where something is marked, what that means."""
    return TITLES[what] if values.isfinite().all() else f"{TITLES[what]}; orange: no finite number"


def refusal(logged: LoggedRun, values, pictures: int, prompt: dict) -> str | None:
    """Why a run's token values (b, frames, rows, columns), if it has any, cannot be laid over the pictures; None where they can."""
    if logged.maps is None:
        return (f"{name_of(logged, prompt)} sampled its pictures in parts only (areas or context windows), of which no map of whole "
                f"pictures can be made.")
    if values is None:
        return ("The run measured no errors: choose what = recomputed, or let ToCa Cache measure them, with preset auto or, with preset "
                "custom, level stack or output and a tolerance.")
    if not values.isfinite().any():
        return "None of the errors that the run measured is a finite number: the model gave NaN or infinity."
    if pictures % len(values):
        return (f"The run made {len(values)} pictures or videos, but images has {pictures} pictures: connect all that was decoded "
                f"from it.")
    return None


def without_map(images, sentence: str) -> io.NodeOutput:
    """The pictures as they came; as maps as many of the sentence, which is also what the node shows."""
    sheet = as_images([draw_sentence(sentence)])
    return io.NodeOutput(sheet.repeat(len(images), 1, 1, 1), images,
                         ui={**ui.PreviewImage(sheet).as_dict(), "text": (sentence,)})
