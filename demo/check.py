"""How often the demo model draws what it is asked for: uncached pictures, read back by checker.py.

    python run.py check [--count 200] [--steps 50] [--seed 0] [--model FILE] [--out output/check.png]
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT))

import torch

from tools.pack import load_host, pack_module

load_host(cpu=not torch.cuda.is_available())
from PIL import Image
from tqdm import tqdm

import comfy.sample

from demo import checker, shapes
from toca_core.select.seeding import following

BATCH, CFG = 20, 2.0
ZOOM, FRAME, COLUMNS = 2, 3, 20


def sample(model, labels: list[int], steps: int, seed: int):
    """Class indices -> pictures (B, 3, H, W) in 0..1, by the host's own sampler."""
    conditioning = pack_module("nodes.models.dit_loader").conditioning
    latent = torch.zeros(len(labels), 3, shapes.SIZE, shapes.SIZE)
    noise = comfy.sample.prepare_noise(latent, seed)
    with torch.inference_mode():
        pictures = comfy.sample.sample(model, noise, steps, CFG, "euler", "normal", conditioning(labels),
                                       conditioning([len(shapes.CLASSES)]), latent, disable_pbar=True, seed=seed)
    return (pictures.float().cpu() + 1).div(2).clamp(0, 1)


def sample_all(model, labels: list[int], steps: int, seed: int):
    """In batches, each with a seed of its own."""
    starts = range(0, len(labels), BATCH)
    return torch.cat([sample(model, labels[start:start + BATCH], steps, following(seed, start)) for start in tqdm(starts, unit="batch")])


def sheet(pictures, right: list[bool]) -> Image.Image:
    """The pictures in rows, those that show something else framed in magenta."""
    side = shapes.SIZE * ZOOM + 2 * FRAME
    page = Image.new("RGB", (COLUMNS * side, -(-len(right) // COLUMNS) * side), "white")
    for index, (picture, is_right) in enumerate(zip(pictures, right, strict=True)):
        image = Image.fromarray((picture * 255).round().byte().permute(1, 2, 0).numpy())
        tile = Image.new("RGB", (side, side), "white" if is_right else "magenta")
        tile.paste(image.resize((side - 2 * FRAME,) * 2, Image.Resampling.NEAREST), (FRAME, FRAME))
        page.paste(tile, (index % COLUMNS * side, index // COLUMNS * side))
    return page


def main() -> None:
    parser = argparse.ArgumentParser(prog="run.py check", description="How often the demo model draws what it is asked for.")
    parser.add_argument("--count", type=int, default=200, help="number of pictures (default 200)")
    parser.add_argument("--steps", type=int, default=50, help="sampling steps (default 50)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", type=Path, default=ROOT / "demo" / "shapes_dit.safetensors", help="the model's file")
    parser.add_argument("--out", type=Path, default=ROOT / "output" / "check.png", help="where the pictures go (default output/check.png)")
    given = parser.parse_args()
    labels = [index % len(shapes.CLASSES) for index in range(given.count)]
    pictures = sample_all(pack_module("nodes.models.dit_loader").load_dit(str(given.model)), labels, given.steps, given.seed)
    found = [checker.read(picture)[:2] for picture in pictures]
    wanted = [tuple(shapes.CLASSES[label].split()) for label in labels]
    right = [one == other for one, other in zip(found, wanted, strict=True)]
    given.out.parent.mkdir(parents=True, exist_ok=True)
    sheet(pictures, right).save(given.out)
    for what, part in (("colour", 0), ("shape", 1)):
        hits = sum(one[part] == other[part] for one, other in zip(found, wanted, strict=True))
        print(f"{what:7} {hits / len(labels):6.1%}")
    print(f"both    {sum(right) / len(labels):6.1%} of {len(labels)} pictures; they are in {given.out}")


if __name__ == "__main__":
    main()
