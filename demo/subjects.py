"""The demo's models as they are measured: what one is asked for, how, and what its pictures show.

A label is what one picture is asked for: a class index of the shapes, a caption of the scenes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from demo import checker, scene_checker, scenes, scenes_model, shapes
from tools.pack import ROOT, pack_module

dit_loader, published = pack_module("nodes.models.dit_loader"), pack_module("toca_core.published")
SPREAD = 5                          # classes between neighbours of a batch; prime to their number, so that all come up


@dataclass(frozen=True)
class Subject:
    """One model and its pictures.

    name            as commands take it
    file            the weights that commands use
    size            rows, columns
    read_model      path -> MODEL
    ask             number -> so many labels, the same every time
    conditioning    labels -> the host's CONDITIONING
    nothing         what guidance steers away from, as a label
    caption         label -> words
    read            picture (3, H, W) in 0..1 -> the caption that it shows
    attending       the network -> its modules that every token goes through which attends
    paper           steps -> published settings of ToCa for such a model
    """
    name: str
    file: Path
    size: tuple[int, int]
    read_model: Callable
    ask: Callable
    conditioning: Callable
    nothing: int | str
    caption: Callable
    read: Callable
    attending: Callable
    paper: Callable

    def load(self, file: Path | None = None):
        """-> MODEL, of its own file or of another. Raises FileNotFoundError with the remedy."""
        file = file or self.file
        if not file.is_file():
            raise FileNotFoundError(f"{file} is missing: restore it from the repository, or make it with python run.py train "
                                    f"--model {self.name} --out {file}.")
        return self.read_model(str(file))

    def right(self, pictures, labels) -> list[bool]:
        """Whether each picture shows what it was asked for."""
        return [self.read(picture) == self.caption(label) for picture, label in zip(pictures, labels, strict=True)]

    def empty_latent(self, count: int):
        return torch.zeros(count, 3, *self.size)


def some_scenes(count: int) -> list[str]:
    return [scenes.caption(objects) for objects in scenes.choose(count, torch.Generator().manual_seed(0))]


SHAPES = Subject(
    "shapes", ROOT / "demo/shapes_dit.safetensors", (shapes.SIZE, shapes.SIZE), read_model=dit_loader.load_dit,
    ask=lambda count: [index * SPREAD % len(shapes.CLASSES) for index in range(count)],
    conditioning=dit_loader.conditioning, nothing=len(shapes.CLASSES),
    caption=lambda label: shapes.CLASSES[label], read=lambda picture: " ".join(checker.read(picture)[:2]).strip(),
    attending=lambda network: [block.attn.qkv for block in network.blocks], paper=published.dit)
SCENES = Subject(
    "scenes", ROOT / "benchmarks/scenes_flux.safetensors", (scenes.HEIGHT, scenes.WIDTH), read_model=scenes_model.load_scenes,
    ask=some_scenes, conditioning=scenes_model.conditioning, nothing="",
    caption=lambda label: label, read=scene_checker.read,
    attending=lambda network: [part.qkv for block in network.double_blocks for part in (block.img_attn, block.txt_attn)],
    paper=lambda steps: published.FLUX)
SUBJECTS = {subject.name: subject for subject in (SHAPES, SCENES)}
