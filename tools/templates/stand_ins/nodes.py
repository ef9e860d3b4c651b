"""The stand-ins as nodes. They make tiny models and what fits them; nothing is read from files."""

import copy
import json
from functools import cache

import torch

import comfy.clip_vision
from comfy_api.latest import InputImpl, Types, io

from tools import zoo
from tools.templates.shrink import FRAMES, in_fewer
from tools.templates.stand_ins.vae import StandInVAE as VAE

CATEGORY, BUILDERS = "stand-ins", zoo.builders()


@cache
def tiny(builder: str):
    """For what fits a model; the model itself is never loaded, or the host would wait for it to be let go."""
    return BUILDERS[builder].make()


def schema(node: str, inputs: list, outputs: list, **more) -> io.Schema:
    return io.Schema(node_id=node, category=CATEGORY, inputs=inputs, outputs=outputs, **more)


def builder_input():
    return io.String.Input("builder")


class StandInModel(io.ComfyNode):
    """A model of its own for each file.

    The description says which classes there are, by builder, so that the tool need not import the host.
    """

    @classmethod
    def define_schema(cls):
        classes = {name: builder.of.rpartition(".")[2] for name, builder in BUILDERS.items()}
        return schema("StandInModel", [builder_input(), io.String.Input("file")], [io.Model.Output()], description=json.dumps(classes))

    @classmethod
    def execute(cls, builder, file):
        return io.NodeOutput(BUILDERS[builder].make().model)


class StandInLora(io.ComfyNode):
    """Adds a small change to a weight, as a LoRA's patches are."""

    @classmethod
    def define_schema(cls):
        return schema("StandInLora", [io.Model.Input("model")], [io.Model.Output()])

    @classmethod
    def execute(cls, model):
        model = model.clone()
        name, weight = next((name, weight) for name, weight in model.model.named_parameters() if weight.ndim == 2)
        model.add_patches({name: ("diff", (0.01 * weight.detach().clone(),))})
        return io.NodeOutput(model)


class StandInConditioning(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        inputs = [builder_input(), io.Boolean.Input("negative"), io.Boolean.Input("reference")]
        return schema("StandInConditioning", inputs, [io.Conditioning.Output()])

    @classmethod
    def execute(cls, builder, negative, reference):
        found = tiny(builder)
        return io.NodeOutput(copy.deepcopy(found.conditioning(7, 7, reference and found.reference))[negative])


class StandInVAE(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema("StandInVAE", [builder_input(), io.Boolean.Input("audio")], [io.Vae.Output()])

    @classmethod
    def execute(cls, builder, audio):
        found = tiny(builder)
        shape = found.shape if isinstance(found.shape[0], int) else found.shape[int(audio)]
        format = found.model.model.latent_format
        sound = audio or "Audio" in type(format).__name__
        bands = (shape[2] if audio else shape[1]) if sound and len(shape) == 3 else 0
        return io.NodeOutput(VAE(format, shape[0], len(shape) - 1, bands, bands_first=not audio))


class StandInLatent(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema("StandInLatent", [builder_input()], [io.Latent.Output()])

    @classmethod
    def execute(cls, builder):
        found = tiny(builder)
        return io.NodeOutput({"samples": found.latent(1, found.shape, False)[0]})


def pictures(width: int, height: int, count: int = 1):
    """(count, H, W, 3), 0..1: noise over a slope."""
    slope = torch.linspace(0, 1, width).view(1, 1, width, 1).expand(count, height, width, 3)
    return (slope + 0.2 * torch.rand(slope.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1)


def sizes() -> list:
    return [io.Int.Input("width"), io.Int.Input("height")]


class StandInImage(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema("StandInImage", sizes(), [io.Image.Output()])

    @classmethod
    def execute(cls, width, height):
        return io.NodeOutput(pictures(width, height))


class StandInMask(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema("StandInMask", sizes(), [io.Mask.Output()])

    @classmethod
    def execute(cls, width, height):
        return io.NodeOutput((pictures(width, height)[..., 0] > 0.5).float())


class StandInVideo(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema("StandInVideo", sizes(), [io.Video.Output()])

    @classmethod
    def execute(cls, width, height):
        parts = Types.VideoComponents(images=pictures(width, height, FRAMES), audio=sound(), frame_rate=4)
        return io.NodeOutput(InputImpl.VideoFromComponents(parts))


def sound(seconds: int = 2, rate: int = 44100) -> dict:
    return {"waveform": 0.1 * torch.randn(1, 2, seconds * rate, generator=torch.Generator().manual_seed(2)), "sample_rate": rate}


class StandInAudio(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema("StandInAudio", [], [io.Audio.Output()])

    @classmethod
    def execute(cls):
        return io.NodeOutput(sound())


class StandInClipVisionOutput(io.ComfyNode):
    """What the tiny model's own conditioning has of it; where it has none, something of usual widths."""

    @classmethod
    def define_schema(cls):
        return schema("StandInClipVisionOutput", [builder_input()], [io.ClipVisionOutput.Output()])

    @classmethod
    def execute(cls, builder):
        generator = torch.Generator().manual_seed(3)
        output = comfy.clip_vision.Output()
        for name, shape in (("last_hidden_state", (1, 5, 1280)), ("penultimate_hidden_states", (1, 5, 1280)), ("image_embeds", (1, 1280))):
            output[name] = torch.randn(*shape, generator=generator)
        found = tiny(builder)
        [_, more] = found.conditioning(7, 7, found.reference)[0][0]
        vars(output).update(vars(more["clip_vision_output"]) if "clip_vision_output" in more else {})
        return io.NodeOutput(output)


class StandInSteps(io.ComfyNode):
    """A count of steps that only the run knows, made smaller as `shrink` makes those it can read."""

    @classmethod
    def define_schema(cls):
        return schema("StandInSteps", [io.Int.Input("value"), io.Int.Input("of"), io.Int.Input("most")], [io.Int.Output()])

    @classmethod
    def execute(cls, value, of, most):
        return io.NodeOutput(in_fewer(value, of, most))


class StandInEnd(io.ComfyNode):
    """Where every sampler's latent ends."""

    @classmethod
    def define_schema(cls):
        latents = [io.Latent.Input(f"latent{index}", optional=True) for index in range(24)]
        return schema("StandInEnd", latents, [], is_output_node=True)

    @classmethod
    def execute(cls, **latents):
        return io.NodeOutput()


NODES = [StandInModel, StandInLora, StandInConditioning, StandInVAE, StandInLatent, StandInImage, StandInMask, StandInVideo, StandInAudio,
         StandInClipVisionOutput, StandInSteps, StandInEnd]
