"""ToCa Open-Sora Scheduler: the times Open-Sora 1.2 samples at, which depend on resolution and length."""

import torch

import comfy.model_sampling
from comfy_api.latest import io

from ..toca_core.checks import Number
from .models.open_sora_schedule import frame_count, sampling_times


class ToCaOpenSoraScheduler(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ToCaOpenSoraScheduler",
            display_name="ToCa Open-Sora Scheduler",
            category="model/sampling/schedulers",
            description="The sigmas of Open-Sora 1.2's own sampler: the larger and longer the clip, the more steps at high noise.",
            inputs=[
                io.Model.Input("model", tooltip="The Open-Sora model, which must be a rectified flow."),
                io.Int.Input("steps", default=30, min=1, max=1000, optional=True, tooltip="Sampling steps; the release takes 30."),
                io.Latent.Input("latent", tooltip="The latent to be sampled: its size and length decide the times."),
                io.Float.Input("denoise", default=1.0, min=0.0, max=1.0, step=0.01, optional=True,
                               tooltip="Below 1, only the last part of the sigmas is used."),
            ],
            outputs=[io.Sigmas.Output()],
        )

    @classmethod
    def execute(cls, model, steps=30, latent=None, denoise=1.0, **_) -> io.NodeOutput:      # the host asks for a latent
        Number(0, 1)("denoise", denoise)
        sampling = model.get_model_object("model_sampling")
        if not isinstance(sampling, comfy.model_sampling.CONST):
            raise ValueError(f"ToCa Open-Sora Scheduler got a model that is no rectified flow ({type(sampling).__name__}); "
                             f"connect an Open-Sora model, or take another scheduler.")
        if denoise <= 0:
            return io.NodeOutput(torch.FloatTensor([]))
        return io.NodeOutput(sigmas_for(tuple(latent["samples"].shape), steps, denoise))


def sigmas_for(shape: tuple[int, ...], steps: int, denoise: float = 1.0) -> torch.Tensor:
    """Latent shape (B, C, T, h, w), or (B, C, h, w) for a picture -> (steps + 1,) in 1..0, the flow's own time.

    With `denoise` d the last `steps` of steps / d, as the host's schedulers have it. A latent cell is 8 x 8 pixels.
    """
    if len(shape) not in (4, 5):
        raise ValueError(f"ToCa Open-Sora Scheduler got a latent of shape {shape}; connect one of (batch, channels, T, height, width).")
    frames = frame_count(shape[2]) if len(shape) == 5 else 1
    times = sampling_times(int(steps / denoise), 8 * shape[-2], 8 * shape[-1], frames)
    return torch.tensor([*times, 0.0])[-(steps + 1):] / 1000
