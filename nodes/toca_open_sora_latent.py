"""ToCa Open-Sora Latent: an empty video of a trained size, or one that begins with a given picture."""

import torch

import comfy.model_management
import comfy.utils
from comfy_api.latest import io

from .choices import check_choices
from .models.open_sora_video import RESOLUTIONS, SIZES, latent_size, pixels, whole_chunks
from .models.stdit3_loader import CHANNELS


class ToCaOpenSoraLatent(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ToCaOpenSoraLatent",
            display_name="ToCa Open-Sora Latent",
            category="model/latent",
            description="An empty latent of a size Open-Sora 1.2 was trained on. With a start, the video begins with it.",
            inputs=[
                io.Combo.Input("resolution", options=list(RESOLUTIONS), default="240p", optional=True,
                               tooltip="How many pixels in all: as many as a 16:9 video of this height has."),
                io.Combo.Input("aspect_ratio", options=list(SIZES), default="16:9", optional=True,
                               tooltip="Width to height. Open-Sora's own texts write it the other way round: their 9:16 is 16:9 here."),
                io.Int.Input("frames", default=51, min=1, max=816, optional=True,
                             tooltip="1 draws a picture; others are rounded to a multiple of 17. "
                                     "At 24 fps 51 are 2 seconds, 102 are 4, 204 are 8, 408 are 16."),
                io.Int.Input("batch_size", default=1, min=1, max=64, optional=True, tooltip="How many videos to draw at once."),
                io.Image.Input("start_image", optional=True,
                               tooltip="The first frame, or several first frames; scaled and cut to size. Needs the input vae."),
                io.Vae.Input("vae", optional=True, tooltip="Open-Sora's VAE, which encodes start_image."),
                io.Latent.Input("start_latent", optional=True,
                                tooltip="Instead of start_image: latent frames to begin with, such as the last five of another video."),
            ],
            outputs=[
                io.Latent.Output(tooltip="For the sampler; a mask on it keeps the frames of the start as they are."),
                io.Int.Output(display_name="width", tooltip="Pixels; for ToCa Open-Sora Conditioning and the scheduler."),
                io.Int.Output(display_name="height", tooltip="Pixels; for ToCa Open-Sora Conditioning and the scheduler."),
                io.Int.Output(display_name="frames", tooltip="Frames after rounding."),
            ],
        )

    @classmethod
    def execute(cls, resolution="240p", aspect_ratio="16:9", frames=51, batch_size=1, start_image=None, vae=None, start_latent=None,
                **_) -> io.NodeOutput:
        check_choices(cls, resolution=resolution, aspect_ratio=aspect_ratio)
        (height, width), frames = pixels(resolution, aspect_ratio), whole_chunks(frames)
        size = latent_size(frames, height, width)
        latent = {"samples": torch.zeros(batch_size, CHANNELS, *size, device=comfy.model_management.intermediate_device())}
        start = start_of(start_image, vae, start_latent, height, width)
        if start is not None:
            latent = begin_with(start, latent["samples"])
        return io.NodeOutput(latent, width, height, frames)


def start_of(image, vae, latent, height, width):
    """The latent frames (B, 4, T, h, w) to begin with, or None."""
    if image is not None and latent is not None:
        raise ValueError("ToCa Open-Sora Latent got both start_image and start_latent; connect one of them.")
    if latent is not None:
        return latent["samples"]
    if image is None:
        return None
    if vae is None:
        raise ValueError("ToCa Open-Sora Latent got a start_image but no vae to encode it; connect Open-Sora's VAE.")
    scaled = comfy.utils.common_upscale(image.movedim(-1, 1), width, height, "bicubic", "center").movedim(1, -1)
    return vae.encode(scaled[..., :3])


def begin_with(start, empty) -> dict:
    """Put the start's frames first and mask them, 0 as known: the released mask strategy "0" for one image."""
    if start.ndim != 5 or start.shape[1] != CHANNELS or start.shape[-2:] != empty.shape[-2:]:
        raise ValueError(f"The start is a latent of shape {tuple(start.shape)}; here it has to be (1, {CHANNELS}, frames, "
                         f"{empty.shape[-2]}, {empty.shape[-1]}): encode it with Open-Sora's VAE, at the size of this video.")
    known, frames = start.shape[2], empty.shape[2]
    if known >= frames:
        raise ValueError(f"The start has {known} latent frames and the video {frames}, so nothing is left to draw; raise frames.")
    samples, mask = empty.clone(), torch.ones_like(empty[:, :1])    # the mask is (B, 1, T, h, w)
    samples[:, :, :known] = comfy.utils.repeat_to_batch_size(start, len(empty)).to(samples)
    mask[:, :, :known] = 0
    return {"samples": samples, "noise_mask": mask}
