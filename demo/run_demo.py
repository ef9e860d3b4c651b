"""What the pack does, shown on the small model that comes with it: three workflows, their pictures and figures.

    python run.py demo [--steps N] [--seed N] [--out DIR] [--thumbnails]

Every workflow is run through a ComfyUI server as a user would run it. The pictures, sheet.png and report.json go to DIR.
"""

import argparse
import io
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT))

try:
    import numpy as np
    import torch
    from PIL import Image, ImageDraw, ImageFont
    from rich.console import Console
    from rich.table import Table
    from tqdm import tqdm
except ModuleNotFoundError as missing:
    sys.exit(f'The demo needs the package {missing.name}: run "{sys.executable}" -m pip install -r requirements-dev.txt')

from toca_core.finite import dumps
from toca_core.quality import IDENTICAL, psnr
from tools.server import Client, ComfyServer, Event, ServerError
from tools.workflow import to_prompt

MODEL = ROOT / "demo" / "shapes_dit.safetensors"
RUNS = ("baseline", "paper", "auto")
WARMUP_STEPS = 4
ZOOM, CONTRAST, MARGIN, GAP = 4, 8, 190, 8


@dataclass
class Run:
    """What came of one workflow."""

    name: str
    captions: list[str]             # what each picture was to show
    files: list[bytes]              # the pictures as PNG
    seconds: float                  # of the sampler
    report: dict | None             # the pack's own; None without ToCa Cache
    steps: int                      # that the sampler made

    @property
    def pictures(self) -> np.ndarray:
        """(B, H, W, 3), 0..255."""
        return np.stack([np.asarray(Image.open(io.BytesIO(file)).convert("RGB"), dtype=np.float32) for file in self.files])


# ---- running ----


def run_all(client: Client, steps: int | None, seed: int | None) -> list[Run]:
    """The three workflows in turn; a short uncounted run comes first, so that none of them pays for the start."""
    object_info = client.object_info()
    run_one(client, "auto", load_prompt("auto", object_info, WARMUP_STEPS, seed), "warm-up")
    return [run_one(client, name, load_prompt(name, object_info, steps, seed), name) for name in RUNS]


def load_prompt(name: str, object_info: dict, steps: int | None, seed: int | None) -> dict:
    """A demo workflow as the server takes it, with other steps and seed where they are given."""
    workflow = json.loads((ROOT / "workflows" / f"demo_{name}.json").read_text(encoding="utf-8"))
    prompt = to_prompt(workflow, object_info)
    changes = {"steps": steps, "seed": seed}
    prompt[node_of(prompt, "KSampler")]["inputs"].update({key: value for key, value in changes.items() if value is not None})
    return prompt


def node_of(prompt: dict, class_type: str) -> str:
    """The id of the one node of a type."""
    [node] = [node for node, content in prompt.items() if content["class_type"] == class_type]
    return node


def run_one(client: Client, name: str, prompt: dict, title: str) -> Run:
    sampler, label = node_of(prompt, "KSampler"), prompt[node_of(prompt, "ToCaDiTClass")]["inputs"]["label"]
    with tqdm(total=prompt[sampler]["inputs"]["steps"], desc=f"{title:9}", unit="step") as bar:
        result = client.run(prompt, on_event=follower(bar, sampler), timeout=3600)
    if result.error:
        raise ServerError(f"The workflow demo_{name}.json failed: {result.error}")
    images = result.outputs[node_of(prompt, "SaveImage")]["images"]
    words = [word.strip() for word in label.split(",")]
    reports = result.of_type("toca.report")
    return Run(name, [words[i % len(words)] for i in range(len(images))], [client.image(**image) for image in images],
               result.seconds_by_node[sampler], reports[-1] if reports else None, bar.total)


def follower(bar: tqdm, node: str) -> Callable[[Event], None]:
    """Moves a bar along with a node's progress events."""
    def follow(event: Event) -> None:
        if event.type == "progress" and event.data.get("node") == node:
            bar.total = event.data["max"]       # some schedulers make a few steps more than asked for
            bar.update(event.data["value"] - bar.n)
    return follow


# ---- figures ----


def figures(runs: list[Run]) -> list[dict]:
    """The rows of the table, the first run being the one that the others are compared with."""
    baseline = runs[0]
    return [row(run, baseline) for run in runs]


def row(run: Run, baseline: Run) -> dict:
    report = run.report or {"calls": {"full": run.steps, "partial": 0, "plain": 0}, "flops": 1, "plain_flops": 1}
    decibels = None if run is baseline else psnr(*(torch.from_numpy(each.pictures) / 255 for each in (run, baseline))).clamp(max=IDENTICAL)
    return {
        "run": run.name,
        "seconds": run.seconds,
        "speedup": baseline.seconds / run.seconds,
        "calls": {"full": report["calls"]["full"] + report["calls"]["plain"], "partial": report["calls"]["partial"]},
        "flops_saved": 1 - report["flops"] / report["plain_flops"],
        "psnr": None if decibels is None else {"mean": decibels.mean().item(), "worst": decibels.min().item()},
        "report": run.report,
    }


def table(rows: list[dict]) -> Table:
    made = Table(caption="full / partial: calls of the model; PSNR: to the baseline in dB, mean and worst", caption_justify="left")
    for title in ("run", "seconds", "speed-up", "full / partial", "FLOPs saved", "PSNR (worst)"):
        made.add_column(title, justify="left" if title == "run" else "right", no_wrap=True)
    for one in rows:
        quality = one["psnr"]
        made.add_row(one["run"], f"{one['seconds']:.2f}", f"{one['speedup']:.2f}x", f"{one['calls']['full']} / {one['calls']['partial']}",
                     f"{one['flops_saved']:.0%}", f"{quality['mean']:.1f} ({quality['worst']:.1f})" if quality else "-")
    return made


# ---- the sheet ----


def sheet(runs: list[Run], rows: list[dict]) -> Image.Image:
    """A row of pictures for each run, and under each cached one its differences from the baseline."""
    baseline, strips = runs[0], []
    for run, one in zip(runs, rows, strict=True):
        strips.append((f"{run.name}\n{one['seconds']:.2f} s\n{one['speedup']:.2f}x", run.pictures))
        if run is not baseline:
            strips.append((f"{run.name} - baseline,\nx{CONTRAST}", np.abs(run.pictures - baseline.pictures) * CONTRAST))
    count, side = len(runs[0].files), runs[0].pictures.shape[2] * ZOOM + GAP
    page = Image.new("RGB", (MARGIN + count * side, 40 + len(strips) * side), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(18)
    for column, caption in enumerate(baseline.captions):
        draw.text((MARGIN + column * side, 10), caption, "black", font)
    for line, (title, pictures) in enumerate(strips):
        draw.text((10, 50 + line * side), title, "black", font, spacing=8)
        for column, picture in enumerate(pictures):
            page.paste(enlarged(picture), (MARGIN + column * side, 40 + line * side))
    return page


def enlarged(picture: np.ndarray) -> Image.Image:
    """(H, W, 3) -> an image with every pixel a square."""
    image = Image.fromarray(picture.clip(0, 255).astype(np.uint8))
    return image.resize((image.width * ZOOM, image.height * ZOOM), Image.Resampling.NEAREST)


# ---- the command ----


def save(runs: list[Run], rows: list[dict], out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for run in runs:
        for index, file in enumerate(run.files):
            (out / f"{run.name}_{index}.png").write_bytes(file)
    sheet(runs, rows).save(out / "sheet.png")
    (out / "report.json").write_text(dumps(rows, indent=2) + "\n", encoding="utf-8")


def save_thumbnails(runs: list[Run]) -> None:
    """The pictures that the template browser shows beside the workflows."""
    for run in runs:
        (ROOT / "workflows" / f"demo_{run.name}.jpg").write_bytes(thumbnail(run.pictures))


def thumbnail(pictures: np.ndarray) -> bytes:
    """The first four pictures in a square, as JPEG."""
    square = np.concatenate([np.concatenate(list(pair), axis=1) for pair in (pictures[:2], pictures[2:4])])
    file = io.BytesIO()
    enlarged(square).save(file, "JPEG", quality=88)
    return file.getvalue()


def main() -> int:
    parser = argparse.ArgumentParser(prog="run.py demo", description="Show what the pack does on the small model that comes with it.")
    parser.add_argument("--steps", type=int, help="sampling steps (default: the workflows', 50)")
    parser.add_argument("--seed", type=int, help="seed of the noise (default: the workflows')")
    parser.add_argument("--out", type=Path, default=ROOT / "output" / "demo", help="where the files go (default output/demo)")
    parser.add_argument("--thumbnails", action="store_true", help="renew the pictures of the demo workflows in workflows/ too")
    given = parser.parse_args()
    if not MODEL.is_file():
        print(f"{MODEL} is missing: restore it from the repository, or make it again with python run.py train.", file=sys.stderr)
        return 1
    print("Starting ComfyUI ...", flush=True)
    try:
        with ComfyServer() as server:
            runs = run_all(server.client(), given.steps, given.seed)
    except ServerError as error:
        print(error, file=sys.stderr)
        return 1
    rows = figures(runs)
    save(runs, rows, given.out)
    if given.thumbnails:
        save_thumbnails(runs)
    Console().print(table(rows))
    print(f"The pictures, sheet.png and report.json are in {given.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
