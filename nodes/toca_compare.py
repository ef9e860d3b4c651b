"""ToCa Compare: how like the uncached pictures the cached ones are, in numbers, in colours and behind a slider."""

import torch

from comfy_api.latest import io, ui

from ..toca_core.finite import finite
from ..toca_core.quality import IDENTICAL
from . import comparison

SHOWN = 64                          # pictures that the slider gets at most, spread evenly over a longer video
PICTURES = [io.Image, io.Video]


class ToCaCompare(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ToCaCompare",
            display_name="ToCa Compare",
            category="image",
            description="How much caching changed: PSNR and SSIM of every picture or frame, a picture of the differences, and a slider "
                        "between the two. Take the same seed for both; a third run of another seed shows what just another picture scores, "
                        "and one of very many steps which of the two came nearer to it.",
            search_aliases=["PSNR", "SSIM", "difference", "quality", "image compare", "A/B", "before after", "truth", "reference"],
            is_output_node=True,
            inputs=[
                io.MultiType.Input("baseline", PICTURES, tooltip="Pictures or a video made without caching."),
                io.MultiType.Input("accelerated", PICTURES, tooltip="The same, of the same seed, made with caching."),
                io.MultiType.Input("other_seed", PICTURES, optional=True,
                                   tooltip="Of another seed, made without caching. It shows what just another picture scores: the floor."),
                io.Float.Input("gain", default=8.0, min=1.0, max=255.0, step=1.0, optional=True,
                               tooltip="How many times the differences are amplified in their picture. At 8 the lightest colour stands "
                                       "for 32 levels of 255, or more."),
                io.MultiType.Input("truth", PICTURES, optional=True,
                                   tooltip="Of the same seed, made without caching in very many steps, 100 or more: what all these runs "
                                           "come near to. The text then says how far from it either run is, and which is nearer."),
            ],
            outputs=[
                io.Image.Output(display_name="difference", tooltip="Where the pictures differ, with a legend: the lighter, the more."),
                io.String.Output(display_name="text", tooltip="A table: PSNR and SSIM of each picture or frame, mean and worst. With a "
                                                                "truth a second one: how far from it either run is."),
                io.Float.Output(display_name="psnr", tooltip="Mean PSNR in dB. An identical picture counts as 99; one with values that are "
                                                            "not finite does not count."),
                io.Float.Output(display_name="ssim", tooltip="Mean SSIM; 1 is identical."),
            ],
        )

    @classmethod
    def execute(cls, baseline, accelerated, gain=8.0, other_seed=None, truth=None, **_) -> io.NodeOutput:
        unit = "frame" if is_video(baseline) else "picture"
        given = {"accelerated": accelerated, "other_seed": other_seed, "truth": truth}
        baseline, others = frames(baseline), {name: frames(value) for name, value in given.items() if value is not None}
        if problem := comparison.refusal(baseline, others):
            raise ValueError(problem)
        accelerated, other, truth = others["accelerated"], others.get("other_seed"), others.get("truth")
        close, floor = comparison.likeness(accelerated, baseline), None if other is None else comparison.likeness(other, baseline)
        text, (psnr, ssim) = comparison.table(close, floor, unit), close.mean
        if truth is not None:
            far, cached_far = (comparison.likeness(run, truth) for run in (baseline, accelerated))
            text += "\n\n" + comparison.truth_table(far, cached_far, unit)
        return io.NodeOutput(comparison.difference_picture(baseline, accelerated, gain, close, floor), text, psnr, ssim,
                             ui=cls.slider(baseline, accelerated, close))

    @classmethod
    def slider(cls, baseline, accelerated, close) -> dict:
        """What the node shows: the pictures of either side, under the names that the host's own Compare Images gives them, and figures."""
        shown = torch.linspace(0, len(baseline) - 1, min(len(baseline), SHOWN)).round().int().tolist()
        saved = {name: ui.PreviewImage(pictures[shown].nan_to_num(0.0), cls=cls).values
                 for name, pictures in (("a_images", baseline), ("b_images", accelerated))}
        figures = [{"picture": index + 1, "psnr": min(close.decibels[index], IDENTICAL), "ssim": close.ssim[index]} for index in shown]
        return {**saved, "figures": finite(figures)}


def is_video(value) -> bool:
    return hasattr(value, "get_components")


def frames(value):
    """The pictures (B, H, W, 3) of an IMAGE or a VIDEO."""
    return (value.get_components().images if is_video(value) else value)[..., :3].float()
