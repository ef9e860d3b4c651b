"""What the demo's third model learns (python run.py train --model clips): the clips of `clips.py`, with the host's own Wan class.

6 blocks of width 128; 288 tokens of 1 x 4 x 4 pixels, 3 of text. It predicts the velocity, as Wan does. It sees single frames first
(`--model frames --batch 64 --peak 1e-3`), of which one step takes eight times as many, then clips (`--resume`, `--peak 6e-4`). The bundled
file saw 304,000 frames in 50 minutes of one core of a CPU, and 27,000 clips in 80. Its discs keep shape and colour from frame to frame, but
few go the way that is asked for. 20,000 clips alone, in 50 minutes, had made spots without a shape.
"""

from dataclasses import replace

import torch

from tools.pack import load_host

load_host(cpu=not torch.cuda.is_available())
import comfy.ldm.wan.model

from demo import clips, training
from demo.clips_model import unet_config


def build(device):
    model = comfy.ldm.wan.model.WanModel(**unet_config(128, 384, 6), dtype=torch.float32, device=device, operations=torch.nn)
    training.initialise(model, [layer.weight for layer in (model.time_embedding[0], model.time_embedding[2])],
                        [model.time_projection[1], model.head.head])
    for owner in (*model.blocks, model.head):
        torch.nn.init.zeros_(owner.modulation)
    torch.nn.init.xavier_uniform_(model.patch_embedding.weight.flatten(1))
    torch.nn.init.zeros_(model.patch_embedding.bias)
    return model


def draw(count, generator, device):
    words = clips.choose(count, generator, device)
    return clips.draw(words, generator), (words,)


def drop(told, which):
    return (told[0].masked_fill(which[:, None], clips.NOTHING),)


def error(network, x0, noise, t, told):
    velocity = network((1 - t) * x0 + t * noise, 1000 * t.flatten(), clips.embed(told[0]))
    return (velocity.float() - (noise - x0)).square().mean()


def draw_frames(count, generator, device):
    """As `draw`, of every clip two frames, each a clip by itself."""
    shown, (words,) = draw(count // 2, generator, device)
    apart = torch.randint(1, clips.FRAMES, (1,), generator=generator, device=device).item()
    first = torch.randint(0, clips.FRAMES - apart, (1,), generator=generator, device=device).item()
    return torch.cat((shown[:, :, first, None], shown[:, :, first + apart, None])), (words.repeat(2, 1),)


TASK = training.Task(build, draw, drop, error, lambda model: model.time_embedding[0].weight, {})
FRAMES = replace(TASK, draw=draw_frames)
