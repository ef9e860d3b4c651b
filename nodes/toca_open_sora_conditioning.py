"""ToCa Open-Sora Conditioning: a prompt the way Open-Sora 1.2 was trained to read it, and what guidance steers away from."""

import torch

from comfy_api.latest import io

from ..toca_core.checks import Number
from .models.stdit3_loader import DEFAULT_FPS, FPS, NULL_CAPTION, PIXELS

CAPTION_TOKENS = 300                            # model_max_length of the release, the end token included


class ToCaOpenSoraConditioning(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ToCaOpenSoraConditioning",
            display_name="ToCa Open-Sora Conditioning",
            category="model/conditioning",
            description="Encodes a prompt for Open-Sora 1.2, with the scores it was trained on, the frame rate and the size; "
                        "and the learned null caption for guidance.",
            inputs=[
                io.Clip.Input("clip", tooltip="T5-XXL: CLIPLoader with the type pixart."),
                io.String.Input("text", multiline=True, dynamic_prompts=True,
                                tooltip="The prompt. It is turned into lower case, as in training."),
                io.Float.Input("aesthetic", default=6.5, min=-1.0, max=10.0, step=0.1, optional=True,
                               tooltip="Aesthetic score, written after the prompt; above 6 looks good. -1: none."),
                io.Float.Input("motion", default=-1.0, min=-1.0, max=100.0, step=0.1, optional=True,
                               tooltip="Motion score, written after the prompt: small is calm, large is lively. -1: none."),
                io.Float.Input("fps", default=DEFAULT_FPS, min=1.0, max=120.0, step=1.0, optional=True,
                               tooltip="Frames per second the motion is meant for. A single frame is always drawn as a picture."),
                io.Int.Input("width", default=0, min=0, max=8192, optional=True, advanced=True,
                             tooltip="Width of the video in pixels, from ToCa Open-Sora Latent. 0: eight times the latent's."),
                io.Int.Input("height", default=0, min=0, max=8192, optional=True, advanced=True,
                             tooltip="Height of the video in pixels, from ToCa Open-Sora Latent. 0: eight times the latent's."),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive", tooltip="The prompt."),
                io.Conditioning.Output(display_name="negative", tooltip="The learned null caption: what guidance steers away from."),
            ],
        )

    @classmethod
    def execute(cls, clip, text, aesthetic=6.5, motion=-1.0, fps=DEFAULT_FPS, width=0, height=0, **_) -> io.NodeOutput:
        for name, value, low, high in (("aesthetic", aesthetic, -1, 10), ("motion", motion, -1, 100), ("fps", fps, 1, 120)):
            Number(low, high)(name, value)
        if bool(width) != bool(height):
            raise ValueError(f"ToCa Open-Sora Conditioning got width {width} and height {height}; give both, or 0 for both.")
        tokens = clip.tokenize(caption(text, aesthetic, motion))
        encoded = clip.encode_from_tokens_scheduled({name: cut(sections) for name, sections in tokens.items()})
        options = {FPS: fps, **({PIXELS: (height, width)} if width else {})}
        positive = [[embedding, {**more, **options}] for embedding, more in encoded]
        return io.NodeOutput(positive, [[torch.zeros_like(embedding), {**more, NULL_CAPTION: True}] for embedding, more in positive])


def caption(text: str, aesthetic: float, motion: float) -> str:
    """The prompt in lower case with its scores behind it, unless it names them itself; a score below 0 is left out."""
    text = " ".join(text.split()).lower()
    for name, score in (("aesthetic", aesthetic), ("motion", motion)):
        if score >= 0 and f"{name} score:" not in text:
            text += f" {name} score: {score:.1f}."
    return text.strip()


def cut(sections: list) -> list:
    """The host's lists of tokens, each with at most 300; the last one, which ends the text, stays."""
    return [[*section[:CAPTION_TOKENS - 1], section[-1]] if len(section) > CAPTION_TOKENS else section for section in sections]
