"""ToCa DiT Class: what a class-conditional DiT is asked for."""

import difflib
import re

from comfy_api.latest import io

from ..toca_core.checks import cut, shown
from .models.dit import DiT
from .models.dit_loader import conditioning

NUMBER = re.compile(r"-?\d+")                   # in the digits of any script, as Python reads them
LONGEST_NUMBER = 1000                           # characters; Python reads no more than a few thousand


class ToCaDiTClass(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ToCaDiTClass",
            display_name="ToCa DiT Class",
            category="model/conditioning",
            description="The class a DiT draws, by number or name, and the null class for guidance.",
            inputs=[
                io.Model.Input("model", tooltip="The DiT, for its classes and their names."),
                io.String.Input("label", default="0", optional=True,
                                tooltip="A class number from 0, or its name (ImageNet's names where the model has 1000 classes). "
                                        "Several, separated by commas, are used in turn for the pictures of a batch."),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive", tooltip="The class."),
                io.Conditioning.Output(display_name="negative", tooltip="The null class: what guidance steers away from."),
            ],
        )

    @classmethod
    def execute(cls, model, label="0", **_) -> io.NodeOutput:
        diffusion_model = model.get_model_object("diffusion_model")
        if not isinstance(diffusion_model, DiT):
            raise ValueError(f"ToCa DiT Class got a {type(diffusion_model).__name__}, which has no classes; connect ToCa Load DiT.")
        names = model.model.model_config.class_names
        words = [word.strip() for word in str(label).split(",") if word.strip()] or [""]
        labels = [class_index(word, names, diffusion_model.classes) for word in words]
        return io.NodeOutput(conditioning(labels), conditioning([diffusion_model.classes]))


def class_index(word: str, names: list[str], classes: int) -> int:
    """A number or a name -> class index. Raises ValueError naming the nearest ones."""
    if NUMBER.fullmatch(word):
        if len(word) <= LONGEST_NUMBER and 0 <= int(word) < classes:
            return int(word)
        raise ValueError(f"Class {cut(word)} does not exist; this model has {classes} classes, 0 to {classes - 1}.")
    folded = {name.casefold(): index for index, name in enumerate(names)}
    if word.casefold() in folded:
        return folded[word.casefold()]
    near = difflib.get_close_matches(word.casefold(), folded, n=3) or list(folded)[:3]
    hint = f"names such as {', '.join(cut(names[folded[name]]) for name in near)}, or " if names else ""
    raise ValueError(f"Class {shown(word)} is not known to this model; give {hint}a number from 0 to {classes - 1}.")
