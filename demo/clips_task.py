"""What the demo's third model learns (python run.py train --model clips): the clips of `clips.py`, with the host's own Wan class.

6 blocks of width 128; 288 tokens of 1 x 4 x 4 pixels, 3 of text. It predicts the velocity, as Wan does. No file of it is bundled: 20,000
clips, 50 minutes of one core of a CPU with --batch 8 --peak 1e-3, make spots of the right colours that do not keep their shape from frame
to frame. So it sees single frames first (`--model frames`), of which one step takes eight times as many, and then clips (`--resume`).
"""

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


FRAMES = training.Task(build, draw_frames, drop, error, lambda model: model.time_embedding[0].weight, {})
TASK = training.Task(build, draw, drop, error, lambda model: model.time_embedding[0].weight, {})
