"""How often a demo model draws what it is asked for: uncached pictures, read back by checker.py or scene_checker.py.

    python run.py check [--model scenes] [--count 200] [--steps 50] [--seed 0] [--file FILE] [--out output/check.png]
"""

import argparse
import sys
from itertools import zip_longest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT))

import torch

from tools.pack import load_host

load_host(cpu=not torch.cuda.is_available())
from PIL import Image
from tqdm import tqdm

import comfy.sample

from demo.subjects import SUBJECTS
from toca_core.select.seeding import following

BATCH, CFG = 20, 2.0
ZOOM, FRAME, COLUMNS = 2, 3, 20


def sample(subject, model, labels: list, steps: int, seed: int):
    """Labels -> pictures (B, 3, H, W) in 0..1, by the host's own sampler."""
    latent = subject.empty_latent(len(labels))
    noise = comfy.sample.prepare_noise(latent, seed)
    with torch.inference_mode():
        pictures = comfy.sample.sample(model, noise, steps, CFG, "euler", "normal", subject.conditioning(labels),
                                       subject.conditioning([subject.nothing]), latent, disable_pbar=True, seed=seed)
    return (pictures.float().cpu() + 1).div(2).clamp(0, 1)


def sample_all(subject, model, labels: list, steps: int, seed: int):
    """In batches, each with a seed of its own."""
    starts = range(0, len(labels), BATCH)
    return torch.cat([sample(subject, model, labels[start:start + BATCH], steps, following(seed, start))
                      for start in tqdm(starts, unit="batch")])


def parts(caption: str) -> list[list[str]]:
    """The colour and the shape of every object."""
    return [name.split() for name in caption.split(", ")] if caption else []


def sheet(pictures, right: list[bool]) -> Image.Image:
    """The pictures in rows, those that show something else framed in magenta."""
    size = [side * ZOOM for side in reversed(pictures.shape[-2:])]
    width, height = (side + 2 * FRAME for side in size)
    page = Image.new("RGB", (COLUMNS * width, -(-len(right) // COLUMNS) * height), "white")
    for index, (picture, is_right) in enumerate(zip(pictures, right, strict=True)):
        image = Image.fromarray((picture * 255).round().byte().permute(1, 2, 0).numpy())
        tile = Image.new("RGB", (width, height), "white" if is_right else "magenta")
        tile.paste(image.resize(size, Image.Resampling.NEAREST), (FRAME, FRAME))
        page.paste(tile, (index % COLUMNS * width, index // COLUMNS * height))
    return page


def main() -> None:
    parser = argparse.ArgumentParser(prog="run.py check", description="How often a demo model draws what it is asked for.")
    parser.add_argument("--count", type=int, default=200, help="number of pictures (default 200)")
    parser.add_argument("--steps", type=int, default=50, help="sampling steps (default 50)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", choices=SUBJECTS, default="shapes", help="which of the demo's models (default shapes)")
    parser.add_argument("--file", type=Path, help="other weights of it")
    parser.add_argument("--out", type=Path, default=ROOT / "output" / "check.png", help="where the pictures go (default output/check.png)")
    given = parser.parse_args()
    subject = SUBJECTS[given.model]
    labels = subject.ask(given.count)
    pictures = sample_all(subject, subject.load(given.file), labels, given.steps, given.seed)
    right = subject.right(pictures, labels)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    sheet(pictures, right).save(given.out)
    wanted, found = ([parts(caption) for caption in captions]
                     for captions in (map(subject.caption, labels), map(subject.read, pictures)))
    objects = [pair for both in zip(wanted, found, strict=True) for pair in zip_longest(*both, fillvalue=("", ""))]
    for what, part in (("colour", 0), ("shape", 1)):
        print(f"{what:7} {sum(one[part] == other[part] for one, other in objects) / len(objects):6.1%} of {len(objects)} objects")
    print(f"all     {sum(right) / len(labels):6.1%} of {len(labels)} pictures; they are in {given.out}")


if __name__ == "__main__":
    main()
