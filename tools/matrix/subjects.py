"""The models of the matrix: one tiny real model of each family, with conditioning that fits."""

import functools
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from tools import tiny
from tools.pack import pack_module

from .graph import Graph

ZOO = {"flux": "FLUX", "sd3": "Stable Diffusion 3", "qwen_image": "Qwen-Image", "chroma": "Chroma", "wan_t2v": "Wan", "sd15": "SD 1.5"}


@dataclass
class Subject:
    """
    make            () -> MODEL
    conditioning    () -> (positive, negative)
    shape           of one latent, (C, ...)
    """
    name: str
    words: str
    make: Callable[[], Any]
    conditioning: Callable[[], tuple[list, list]]
    shape: tuple[int, ...]
    known: dict = field(default_factory=dict)   # runs that several rows compare with

    @functools.cached_property
    def model(self):
        return self.make()

    @property
    def video(self) -> bool:
        return len(self.shape) == 4 and self.shape[1] > 1

    def diffusion_model(self):
        return self.model.model.diffusion_model

    def graph(self) -> Graph:
        """With nothing but ToCa Cache in it."""
        return Graph(self.model, *self.conditioning(), torch.zeros(1, *self.shape))


def of_the_zoo(name: str) -> Subject:
    from tools.zoo import builders
    make = builders()[name].make
    built = make()
    return Subject(name, ZOO[name], lambda: make().model, lambda: built.conditioning(7, 7, False), built.shape)


def dit(folder: Path) -> Subject:
    """The pack's own class, through its loader."""
    loader, path = pack_module("nodes.models.dit_loader"), folder / "dit.safetensors"
    save_file(tiny.dit_weights(), path, {"num_heads": "4"})
    return Subject("dit", "DiT", lambda: loader.load_dit(str(path)), lambda: (loader.conditioning([1]), loader.conditioning([5])),
                   (4, 16, 16))


def pixart(folder: Path) -> Subject:
    """Likewise."""
    loader, path = pack_module("nodes.models.pixart"), folder / "pixart.safetensors"
    save_file(tiny.pixart_weights(), path, {"num_heads": "4"})
    captions = torch.randn(2, 1, 12, 32, generator=torch.Generator().manual_seed(1))
    return Subject("pixart", "PixArt", lambda: loader.load_pixart(str(path)), lambda: ([[captions[:1, 0], {}]], [[captions[1:, 0], {}]]),
                   (4, 16, 16))


def unlisted() -> Subject:
    """A class that no entry knows, as that of another pack may be."""
    import comfy.ldm.flux.model

    class Unlisted(comfy.ldm.flux.model.Flux):
        pass

    known = of_the_zoo("flux")

    def make():
        from tools.zoo import builders
        model = builders()["flux"].make().model
        model.model.diffusion_model.__class__ = Unlisted
        return model
    return Subject("unlisted", "a class in no table", make, known.conditioning, known.shape)


@functools.cache
def subjects() -> dict[str, Subject]:
    """All of them, by name; models are made when they are asked for."""
    folder = Path(tempfile.mkdtemp(prefix="toca-matrix-"))
    made = [dit(folder), pixart(folder), *map(of_the_zoo, ZOO), unlisted()]
    return {subject.name: subject for subject in made}
