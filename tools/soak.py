"""One server, hundreds of prompts of changing sizes, presets, models, levels and samplers by two clients.

    python run.py soak [--prompts 200] [--json FILE]

What must hold after a warm-up of a quarter: the server's memory is flat within 2%, its open files are the same in number, and every
picture of a sample is that of a fresh process, pixel for pixel.
"""

import argparse
import io
import itertools
import json
import random
import statistics
import sys
import tempfile
import threading
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT))
from tools.prompts import demo_prompt, flux_prompt
from tools.server import Client, ComfyServer

CLIENTS, SAMPLE, SEED = 2, 10, 1
FLAT = 0.02                                                         # of the memory
SIZES = ((32, 32), (64, 64), (64, 32), (48, 64))
SAMPLERS = ("euler", "dpmpp_2m", "heun", "euler_ancestral")
SETTINGS = ({"preset": "auto"}, {"preset": "auto", "tolerance": 2.0}, {"preset": "paper"}, {"preset": "custom", "level": "module"},
            {"preset": "custom", "level": "stack"}, {"preset": "custom", "level": "output"})
MODELS = ("demo", "tiny_dit", "flux")


@dataclass
class Soak:
    """
    megabytes   of the server, after each prompt that came to its end; files: how many it holds open
    slope       of the memory after the warm-up, MB in 100 prompts
    change      of the memory's median from the first to the last third after the warm-up, as a share
    wrong       what did not hold
    """
    prompts: int
    megabytes: list[float] = field(default_factory=list)
    files: list[int] = field(default_factory=list)
    slope: float = 0.0
    change: float = 0.0
    compared: int = 0
    wrong: list[str] = field(default_factory=list)


def prompts(count: int) -> list[dict]:
    """A mixture that repeats: (what is asked for) -> prompt, each with a prefix of its own."""
    choice = random.Random(SEED)
    made = []
    for index in range(count):
        model, size = choice.choice(MODELS), choice.choice(SIZES)
        asked = dict(seed=choice.randrange(1000), steps=choice.choice((6, 10, 16)), sampler=choice.choice(SAMPLERS), size=size,
                     prefix=f"soak{index}", **choice.choice(SETTINGS))
        if model == "flux":
            made.append(flux_prompt(**asked))
        else:
            made.append(demo_prompt(**asked, **({} if model == "demo" else {"model": "tiny_dit.safetensors", "label": "1"})))
    return made


def write_models(folder: Path):
    """Beside the demo model."""
    from safetensors.torch import save_file

    from tools import tiny, tiny_files
    tiny_files.write(folder)
    save_file(tiny.dit_weights(channels=3), folder / "diffusion_models" / "tiny_dit.safetensors", {"num_heads": "4"})


def pixels(client: Client, result) -> np.ndarray:
    [image] = result.outputs["save"]["images"]
    return np.asarray(Image.open(io.BytesIO(client.image(**image))))


def soaked(server: ComfyServer, asked: list[dict], sample: set[int], soak: Soak) -> dict[int, np.ndarray]:
    """Every prompt, by two clients at once -> the pictures of the sample."""
    process, lock, pictures = psutil.Process(server.process.pid), threading.Lock(), {}

    def serve(indices):
        client = server.client()
        for index in indices:
            result = client.run(asked[index])
            with lock:
                soak.megabytes.append(round(process.memory_info().rss / 2**20, 1))
                soak.files.append(process.num_fds())
                if len(soak.megabytes) % 10 == 0:
                    print(f"{len(soak.megabytes)} prompts: {soak.megabytes[-1]:.0f} MB, {soak.files[-1]} files", flush=True)
                if result.error:
                    soak.wrong.append(f"prompt {index}: {result.error}")
                elif index in sample:
                    pictures[index] = pixels(client, result)
    clients = [threading.Thread(target=serve, args=(range(first, len(asked), CLIENTS),)) for first in range(CLIENTS)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    return pictures


def judge(soak: Soak):
    """Fills in what the series say."""
    after = soak.megabytes[len(soak.megabytes) // 4:]
    third = max(1, len(after) // 3)
    first, last = statistics.median(after[:third]), statistics.median(after[-third:])
    soak.slope = float(np.polyfit(range(len(after)), after, 1)[0] * 100) if len(after) > 1 else 0.0
    soak.change = last / first - 1
    if soak.change > FLAT:
        soak.wrong.append(f"memory grew by {soak.change:.1%}, from {first:.0f} to {last:.0f} MB")
    files = soak.files[len(soak.files) // 4:]
    grown = statistics.median(files[-third:]) - statistics.median(files[:third])
    if grown > 0:
        soak.wrong.append(f"{grown:.0f} more files are open than after the warm-up")


def compare(pictures: dict[int, np.ndarray], asked: list[dict], models: Path, soak: Soak):
    """Each picture with that of a server which has done nothing else."""
    for index, known in sorted(pictures.items()):
        with ComfyServer(models=[models]) as server:
            client = server.client()
            result = client.run(asked[index])
            soak.compared += 1
            if result.error or not np.array_equal(pixels(client, result), known):
                soak.wrong.append(f"prompt {index}: a fresh process gives {result.error or 'another picture'}")


def run(count: int, sample: int) -> Soak:
    soak, asked = Soak(count), prompts(count)
    chosen = set(itertools.islice(iter(range(count - 1, -1, -max(1, count // max(1, sample)))), sample))      # the last one first
    with tempfile.TemporaryDirectory(prefix="toca-soak-") as folder:
        write_models(Path(folder))
        with ComfyServer(models=[Path(folder)]) as server:
            pictures = soaked(server, asked, chosen, soak)
        judge(soak)
        compare(pictures, asked, Path(folder), soak)
    return soak


def main() -> int:
    parser = argparse.ArgumentParser(prog="run.py soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=200, help="how many (default 200)")
    parser.add_argument("--compare", type=int, default=SAMPLE, metavar="N",
                        help=f"pictures compared with a fresh process (default {SAMPLE})")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the series there")
    given = parser.parse_args()
    soak = run(given.prompts, given.compare)
    print(f"{soak.prompts} prompts: memory {soak.change:+.1%} after the warm-up ({soak.slope:+.2f} MB in 100 prompts), "
          f"{soak.files[-1]} files open; {soak.compared} pictures compared with a fresh process'")
    print("\n".join(soak.wrong) or "Nothing is wrong.")
    if given.json:
        given.json.write_text(json.dumps(asdict(soak), indent=1) + "\n", encoding="utf-8")
    return 1 if soak.wrong else 0


if __name__ == "__main__":
    from tools.pack import load_host
    load_host()
    sys.exit(main())
