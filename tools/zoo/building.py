"""How a tiny model of one of the host's own classes is made: random weights under which every token matters, and conditioning that fits.

A builder is a function that returns a `Tiny`; `@tiny` enters it into `BUILDERS` by its name. Nothing is loaded from files.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch

from tools.pack import load_host

load_host(cpu=not torch.cuda.is_available())
import comfy.model_management
import comfy.model_patcher
import comfy.nested_tensor
import comfy.sample
import comfy.supported_models
import comfy.utils

BUILDERS: dict[str, "Builder"] = {}         # in the order in which they are listed
UNTOUCHED = ("freqs", "inv_freq")           # parts of names whose values are positions, not weights


class NotInThisHost(Exception):
    """The class does not exist in this version of the host; the message names it."""


def empty(batch: int, shape: tuple, reference: bool = False):
    """What the nodes for empty latents give: (latent, no mask); of several parts where the shape has several."""
    if isinstance(shape[0], int):
        return torch.zeros(batch, *shape), None
    return comfy.nested_tensor.NestedTensor([torch.zeros(batch, *part) for part in shape]), None


@dataclass(frozen=True)
class Tiny:
    """
    model           the host's MODEL (ModelPatcher)
    conditioning    (tokens, negative_tokens, reference) -> (positive, negative) as nodes pass them; with a reference picture where
                    reference is true and the model takes one; what it holds for a reference fits `shape` and a batch of 1
    shape           of one latent, (C, ...), or several of them for a latent of parts; `odd` is another that is neither square nor
                    even, where the class takes one
    reference       whether the model takes reference pictures
    latent          (batch, shape, reference) -> (latent, noise mask or None) that the sampler starts from
    batches         whether the class takes batches
    """
    model: object
    conditioning: Callable
    shape: tuple
    odd: tuple | None = None
    reference: bool = False
    latent: Callable = empty
    batches: bool = True

    @property
    def diffusion_model(self):
        return self.model.model.diffusion_model

    def sample(self, model=None, steps=8, cfg=3.0, sampler="euler", scheduler="simple", seed=3, batch=1, shape=None, texts=(7, 7),
               reference=False, **options):
        """The host's own KSampler path -> latent (B, C, ...); one of several parts comes packed, (B, 1, N), as at APPLY_MODEL."""
        latent, mask = self.latent(batch, shape or self.shape, reference)
        noise = comfy.sample.prepare_noise(latent, seed)
        positive, negative = copy.deepcopy(self.conditioning(*texts, reference))
        with torch.inference_mode():
            result = comfy.sample.sample(model or self.model, noise, steps, cfg, sampler, scheduler, positive, negative, latent,
                                         disable_pbar=True, seed=seed, **{"noise_mask": mask, **options})
            return comfy.utils.pack_latents(result.unbind())[0] if result.is_nested else result.clone()


@dataclass(frozen=True)
class Builder:
    """
    of      the full name of the diffusion-model class that it builds
    make    () -> Tiny; raises NotInThisHost
    """
    name: str
    of: str
    make: Callable[[], Tiny]


def tiny(of: str):
    """Enters a function () -> Tiny by its name; of: "comfy.ldm.wan.model.WanModel"."""
    def enter(make):
        BUILDERS[make.__name__] = Builder(make.__name__, of, make)
        return make
    return enter


def build(config: str, unet: dict, seed: int = 0, trim: Callable | None = None, untouched: tuple[str, ...] = ()):
    """
    A MODEL by the name of its class in `comfy.supported_models`, of these sizes, in float32.

    trim: (diffusion model) -> None; exchanges parts of a size that the class fixes for small ones of the host's; untouched: parts of
    the names of what keeps its values.
    """
    kind = getattr(comfy.supported_models, config, None)
    if kind is None:
        raise NotInThisHost(f"comfy.supported_models.{config}")
    found = kind({**kind.unet_config, **(kind.unet_extra_config or {}), **unet})
    found.unet_config.update({**(kind.unet_extra_config or {}), **unet})
    return of_config(found, seed, trim, untouched)


def of_config(found, seed: int = 0, trim: Callable | None = None, untouched: tuple[str, ...] = ()):
    """The same of a host's model config, or of one of the pack's own."""
    found.set_inference_dtype(torch.float32, None)
    model = found.get_model({}, "")
    if trim:
        trim(model.diffusion_model)
    fill(model.diffusion_model, seed, untouched)
    device = comfy.model_management.get_torch_device()
    return comfy.model_patcher.CoreModelPatcher(model.to(device), device, device)


def fill(module: torch.nn.Module, seed: int = 0, untouched: tuple[str, ...] = ()):
    """Weights that keep the scale of what goes through, norms near 1; whatever holds positions stays as the class made it."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in [*module.named_parameters(), *module.named_buffers()]:
            if name.endswith("inv_freq"):                           # comes with the checkpoint in some classes, and is memory as it was
                parameter.copy_(10000.0 ** -(torch.arange(parameter.numel()) / parameter.numel()).view(parameter.shape))
                continue
            if not parameter.dtype.is_floating_point or any(word in name for word in (*UNTOUCHED, *untouched)):
                continue
            noise = torch.randn(parameter.shape, generator=generator)
            owner = name.rsplit(".", 2)[-2] if "." in name else ""
            if "norm" in owner and parameter.ndim == 1 and name.endswith(("weight", "scale")):
                parameter.copy_(1 + 0.1 * noise)
            else:
                parameter.copy_(noise * (0.1 if parameter.ndim < 2 else parameter[0].numel() ** -0.5))


def text(tokens: int, width: int, seed: int, **more) -> list:
    """One conditioning of `tokens` tokens."""
    return [[torch.randn(1, tokens, width, generator=torch.Generator().manual_seed(seed)), more]]


def texts(width: int, **more) -> Callable:
    """A `Tiny.conditioning` for models that need nothing but text and the same constants for both sides."""
    return lambda tokens=7, negative=7, reference=False: (text(tokens, width, 1, **more), text(negative, width, 2, **more))


def random(*shape, seed: int = 9):
    """A constant that looks like noise."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def first_frame(batch: int, shape: tuple, reference: bool):
    """What image-to-video nodes give that write the picture into the latent: its first frame is held by the noise mask."""
    if not reference:
        return empty(batch, shape)
    mask = torch.ones(1, 1, shape[1], 1, 1).expand(-1, -1, -1, *shape[2:]).clone()
    mask[:, :, 0] = 0
    return (random(*shape) * (1 - mask)).repeat(batch, 1, 1, 1, 1), mask
