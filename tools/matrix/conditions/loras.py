"""LoRAs: on the weights before and after ToCa Cache, in the layers' own forward, and by hooks on conditionings."""

from dataclasses import replace

import torch

import comfy.hooks
import comfy.sd

from tools.matrix.graph import before, behind, condition

RANK, STRENGTH = 2, 1.0


def weights(model, seed: int = 0) -> dict:
    """A LoRA file's content for every third matrix of a model, under the keys that the host takes for every model."""
    generator, lora = torch.Generator().manual_seed(seed), {}
    matrices = [(name, value) for name, value in model.model.diffusion_model.state_dict().items()
                if value.ndim == 2 and name.endswith(".weight") and min(value.shape) > RANK]
    for name, value in matrices[::3]:
        key = f"diffusion_model.{name.removesuffix('.weight')}"
        lora[f"{key}.lora_up.weight"] = torch.randn(value.shape[0], RANK, generator=generator) * 0.25
        lora[f"{key}.lora_down.weight"] = torch.randn(RANK, value.shape[1], generator=generator) * value.shape[1] ** -0.5
    return lora


def loader(graph):
    """LoraLoaderModelOnly."""
    lora = weights(graph.model)
    return lambda model: comfy.sd.load_lora_for_models(model, None, lora, STRENGTH, 0)[0]


@condition("LoRA before")
def lora_before(graph, subject):
    return before(graph, loader(graph))


@condition("LoRA after")
def lora_after(graph, subject):
    return behind(graph, loader(graph))


@condition("LoRA in bypass")
def lora_in_bypass(graph, subject):
    """Added to what the layers give, their weights stay."""
    lora = weights(graph.model)
    return before(graph, lambda model: comfy.sd.load_bypass_lora_for_models(model, None, lora, STRENGTH, 0)[0])


def hooked(graph, keyframes=(), both: bool = True):
    hooks = comfy.hooks.create_hook_lora(lora=weights(graph.model), strength_model=STRENGTH, strength_clip=0)
    if keyframes:
        group = comfy.hooks.HookKeyframeGroup()
        for strength, start in keyframes:
            group.add(comfy.hooks.HookKeyframe(strength=strength, start_percent=start))
        hooks.set_keyframes_on_hooks(hook_kf=group)
    negative = comfy.hooks.set_hooks_for_conditioning(graph.negative, hooks) if both else graph.negative
    return replace(graph, positive=comfy.hooks.set_hooks_for_conditioning(graph.positive, hooks), negative=negative)


@condition("LoRA by hooks")
def lora_by_hooks(graph, subject):
    return hooked(graph)


@condition("LoRA by hooks on the prompt alone")
def lora_by_hooks_on_one(graph, subject):
    return hooked(graph, both=False)


@condition("LoRA by hooks with keyframes")
def lora_by_hooks_with_keyframes(graph, subject):
    """On from a third of the run, weaker from two thirds."""
    return hooked(graph, ((0.0, 0.0), (1.0, 0.33), (0.4, 0.66)))
