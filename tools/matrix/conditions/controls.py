"""ControlNets, of the host's own classes where a tiny one can be built."""

from dataclasses import replace

import torch

import comfy.cldm.cldm
import comfy.controlnet
import comfy.ldm.flux.controlnet
import comfy.ops
import nodes

from tools.matrix.graph import LeftOut, condition
from tools.zoo.building import fill, random
from tools.zoo.flux import SIZES

HOW = {"dtype": torch.float32, "operations": comfy.ops.disable_weight_init}
CPU = torch.device("cpu")


def of_sd15():
    """Its hint is a picture of eight times the latent's size."""
    net = comfy.cldm.cldm.ControlNet(image_size=32, in_channels=4, model_channels=32, hint_channels=3, num_res_blocks=[1, 1],
                                     channel_mult=(1, 2), num_heads=4, use_spatial_transformer=True, transformer_depth=[1, 1],
                                     transformer_depth_middle=1, context_dim=32, legacy=False, **HOW)
    return net, {}


def of_flux():
    net = comfy.ldm.flux.controlnet.ControlNetFlux(latent_input=True, control_latent_channels=16, guidance_embed=True,
                                                   **{**SIZES, "depth_single_blocks": 1}, **HOW)
    return net, {"compression_ratio": 1, "extra_conds": ["y", "guidance"]}


KINDS = {"sd15": of_sd15, "flux": of_flux, "unlisted": of_flux}


def control(subject):
    if subject.name not in KINDS:
        raise LeftOut("a ControlNet of its own class is not built here")
    net, options = KINDS[subject.name]()
    fill(net, seed=5)
    return comfy.controlnet.ControlNet(net.eval(), load_device=CPU, **options)


def applied(graph, subject, start: float, end: float, strength: float = 0.8, net=None):
    """The node Apply ControlNet."""
    picture = random(1, 128, 128, 3, seed=8).sigmoid() if subject.name == "sd15" else random(1, 16, 16, 16, seed=8)
    node = nodes.ControlNetApplyAdvanced()
    positive, negative = node.apply_controlnet(graph.positive, graph.negative, net or control(subject), picture, strength, start, end)
    return replace(graph, positive=positive, negative=negative)


@condition("ControlNet")
def control_net(graph, subject):
    return applied(graph, subject, 0.0, 1.0)


@condition("ControlNet in the first half")
def control_net_first(graph, subject):
    return applied(graph, subject, 0.0, 0.5)


@condition("ControlNet in the second half")
def control_net_second(graph, subject):
    return applied(graph, subject, 0.5, 1.0)


@condition("two ControlNets in turn")
def control_nets_in_turn(graph, subject):
    return applied(applied(graph, subject, 0.0, 0.5), subject, 0.5, 1.0, 0.4)
