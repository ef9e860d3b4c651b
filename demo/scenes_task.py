"""What the demo's second model learns (`benchmarks/scenes_flux.safetensors`; python run.py train --model scenes).

The host's own FLUX class (2 double and 6 single blocks of width 128; 128 tokens of 4 x 4 pixels, 6 of text) learns the pictures of
`scenes.py` as `training.py` says. It predicts the velocity, as FLUX does. The file saw 1.73 million pictures, 512 at a time at a peak
rate of 1e-3, in 84 seconds of one NVIDIA H200 (--minutes 1.4 --batch 512 --peak 1e-3); a CPU needs 8 at a time and hours.
"""

import torch

from tools.pack import load_host

load_host(cpu=not torch.cuda.is_available())
import comfy.ldm.flux.model

from demo import scenes, training
from demo.scenes_model import unet_config


def build(device):
    model = comfy.ldm.flux.model.Flux(**unet_config(128, 2, 6), dtype=torch.float32, device=device, operations=torch.nn)
    small = [layer.weight for embedder in (model.time_in, model.vector_in) for layer in (embedder.in_layer, embedder.out_layer)]
    heads = [modulation.lin for block in model.double_blocks for modulation in (block.img_mod, block.txt_mod)]
    heads += [block.modulation.lin for block in model.single_blocks]
    training.initialise(model, small, [*heads, model.final_layer.adaLN_modulation[1], model.final_layer.linear])
    for module in model.modules():
        if isinstance(module, torch.nn.LayerNorm):                  # blocks add to what they were given, and gradients need it as it was
            module.register_forward_pre_hook(lambda module, inputs: (inputs[0].clone(),))
    return model


def draw(count, generator, device):
    objects = scenes.choose(count, generator, device)
    return scenes.draw(objects, generator), (objects,)


def drop(told, which):
    return (told[0].masked_fill(which[:, None], scenes.NOTHING),)


def error(network, x0, noise, t, told):
    context, pooled = scenes.embed(told[0])
    velocity = network((1 - t) * x0 + t * noise, t.flatten(), context, y=pooled)
    return (velocity.float() - (noise - x0)).square().mean()


TASK = training.Task(build, draw, drop, error, lambda model: model.time_in.in_layer.weight, {})
