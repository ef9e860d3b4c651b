"""Weights in other forms: 8 and 16 bits, layers of mixed precision, layers that unpack their weights in each call, weights cast as used."""

import copy
import json
from dataclasses import replace

import torch

import comfy.model_patcher
import comfy.ops

from tools.matrix.conditions import loras
from tools.matrix.graph import before, condition

CPU = torch.device("cpu")
FP8 = torch.float8_e4m3fn


def rebuilt(graph, dtype=torch.float32, compute=None, operations=None, state=None, load: bool = True):
    """The same model made anew with other weights -> (graph with it, its diffusion model)."""
    base = graph.model.model
    config = object.__new__(type(base.model_config))                # the host's class cannot be copied: it answers for any attribute
    config.__dict__.update(base.model_config.__dict__, unet_config=dict(base.model_config.unet_config))
    config.custom_operations = operations
    config.set_inference_dtype(dtype, compute)
    weights = {name: value.clone() for name, value in base.diffusion_model.state_dict().items()}
    made = copy.copy(base)
    made._modules = dict(base._modules)
    made.manual_cast_dtype, made.model_config = compute, config
    kind = type(base.diffusion_model)
    settings = {name: value for name, value in config.unet_config.items() if name != "disable_unet_model_creation"}
    settings["dtype"] = dtype
    chosen = operations or comfy.ops.pick_operations(dtype, compute, model_config=config)
    made.diffusion_model = kind(**settings, device=CPU, operations=chosen)
    made.diffusion_model.eval()
    if load:
        made.diffusion_model.load_state_dict(weights if state is None else state(weights), strict=False)
    return replace(graph, model=comfy.model_patcher.CoreModelPatcher(made, CPU, CPU))


@condition("weights in bf16")
def bf16(graph, subject):
    return rebuilt(graph, torch.bfloat16)


@condition("weights in bf16, computed in float32")
def bf16_cast(graph, subject):
    return rebuilt(graph, torch.bfloat16, torch.float32)


@condition("weights in fp8")
def fp8(graph, subject):
    return rebuilt(graph, FP8, torch.float32)


@condition("weights in fp8 with a LoRA")
def fp8_lora(graph, subject):
    return loras.lora_before(rebuilt(graph, FP8, torch.float32), subject)


@condition("layers of mixed precision")
def mixed_precision(graph, subject):
    """Every second layer's weights in fp8 with a scale, as quantised checkpoints have them."""
    def state(weights):
        matrices = [name for name, value in weights.items() if value.ndim == 2 and name.endswith(".weight") and value.shape[0] % 16 == 0]
        told = {}
        for name in matrices[::2]:
            value, layer = weights[name], name.removesuffix(".weight")
            scale = value.abs().max() / torch.finfo(FP8).max
            told |= {name: (value / scale).to(FP8), f"{layer}.weight_scale": scale.float(),
                     f"{layer}.comfy_quant": torch.tensor(list(json.dumps({"format": "float8_e4m3fn"}).encode()), dtype=torch.uint8)}
        return weights | told
    operations = comfy.ops.mixed_precision_ops({}, torch.float32, full_precision_mm=True)
    with torch.inference_mode():                                    # as the host's loaders run
        return rebuilt(graph, operations=operations, state=state)


class Packed(comfy.ops.disable_weight_init):
    """As of packs that load GGUF files: a layer's weight is a row of bytes, which its forward unpacks."""

    class Linear(comfy.ops.disable_weight_init.Linear):
        def forward(self, x, *args, **kwargs):
            scale, shape = self.scale, (self.out_features, self.in_features)
            weight = (self.weight.float().view(shape) - 128) * scale[:, None]
            return torch.nn.functional.linear(x, weight.to(x.dtype), None if self.bias is None else self.bias.to(x.dtype))

        def pack(self):
            value = self.weight.detach()
            self.scale = value.abs().amax(1).clamp_min(1e-6) / 127
            packed = (value / self.scale[:, None]).round() + 128
            self.weight = torch.nn.Parameter(packed.to(torch.uint8).flatten(), requires_grad=False)


@condition("layers that unpack their weights")
def packed(graph, subject):
    graph = rebuilt(graph, operations=Packed)
    for layer in graph.model.model.diffusion_model.modules():
        if isinstance(layer, Packed.Linear):
            layer.pack()
    return graph


@condition("weights cast as used")
def cast_as_used(graph, subject):
    """Of a model too large for its device: every layer fetches its weight in its own forward, with its LoRA."""
    return before(lowered(rebuilt(graph, operations=comfy.ops.manual_cast)), loras.loader(graph))


def lowered(graph):
    """The host loads such a model within a budget of a few bytes."""
    load = graph.model.load

    def little(device_to=None, lowvram_model_memory=0, **options):
        return load(device_to, lowvram_model_memory=1, **{**options, "full_load": False})
    graph.model.load = little
    return graph
