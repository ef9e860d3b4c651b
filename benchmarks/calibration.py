"""Does ToCa Calibrate keep its word on pictures it has not seen? On the demo model, at disclosed classes and seeds.

    python run.py calibration [--seeds N] [--steps N] [--targets TEXT ...] [--json FILE]

It is given the classes of even number, with seeds from 0; what it chose is then used on the classes of odd number, with seeds from
1000. Every batch has all eight classes of its side: each shape in two of the four colours. A likeness counts as the mean PSNR of
all pictures of a side, a speed as the counted FLOPs of all runs. Its shares of fresh tokens are tried by `run.py shares`.
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT))

import torch

from tools.pack import load_host, pack_module

load_host(cpu=not torch.cuda.is_available())
from rich.console import Console
from rich.table import Table

import comfy.sample
import folder_paths
import nodes as host_nodes

from benchmarks import figures, measuring
from benchmarks.variants import SCHEDULER, plain
from demo.subjects import SHAPES
from toca_core import quality
from toca_core.finite import dumps

SEEN, UNSEEN = list(range(0, 16, 2)), list(range(1, 16, 2))        # classes
FIRST_UNSEEN_SEED, GUIDANCE = 1000, 3.0
TARGETS = ("PSNR >= 35", "2x")
config, seam, settings, node = (pack_module(name) for name in (
    "toca_core.config", "nodes.host.seam", "nodes.host.settings", "nodes.toca_calibrate"))


def calibrate(model, target: str, seeds: int, steps: int) -> tuple:
    """The outputs of ToCa Calibrate on the classes that it may see."""
    latent, vae = {"samples": SHAPES.empty_latent(len(SEEN))}, host_nodes.VAELoader().load_vae("pixel_space")[0]
    with torch.inference_mode():
        return node.ToCaCalibrate.execute(
            model, SHAPES.conditioning(SEEN), SHAPES.conditioning([SHAPES.nothing]), latent, target, steps,
            GUIDANCE, "euler", SCHEDULER, 0, seeds, "", vae=vae).args


def contenders(model, outputs: dict[str, tuple]) -> dict:
    """What is tried on the pictures not seen: name -> (MODEL, the list of its runs' reports)."""
    chosen = {target: settings.Settings("auto", config.ToCaConfig(), tolerance=output[2]) for target, output in outputs.items()}
    reports = {name: [] for name in chosen}
    return {name: (seam.install(model, one, reports[name].append), reports[name]) for name, one in chosen.items()}


def measure(given) -> dict:
    model, variant = SHAPES.load(), plain("euler", given.steps)
    outputs = {target: calibrate(model, target, given.seeds, given.steps) for target in given.targets}
    tried, psnr, ratios = contenders(model, outputs), {}, {}
    for seed in range(FIRST_UNSEEN_SEED, FIRST_UNSEEN_SEED + given.seeds):
        batch = measuring.Batch(UNSEEN, comfy.sample.prepare_noise(SHAPES.empty_latent(len(UNSEEN)), seed), seed)
        reference, plain_seconds = measuring.sample(model, variant, batch, GUIDANCE)
        for name, (cached, _) in tried.items():
            pictures, seconds = measuring.sample(cached, variant, batch, GUIDANCE)
            psnr.setdefault(name, []).extend(quality.psnr(pictures, reference).tolist())
            ratios.setdefault(name, []).append(plain_seconds / seconds)
    rows = [{"run": name, "told": told(outputs[name]), "psnr": figures.mean_and_worst(psnr[name]),
             "error": statistics.stdev(psnr[name]) / len(psnr[name]) ** 0.5, "wall": statistics.median(ratios[name]),
             "speedup": sum(report.plain_flops for report in reports) / sum(report.flops for report in reports)}
            for name, (_, reports) in tried.items()]
    return {"steps": given.steps, "pictures": given.seeds * len(UNSEEN), "seen": SEEN, "unseen": UNSEEN, "torch": torch.__version__,
            "threads": torch.get_num_threads(), "rows": rows}


def told(outputs) -> dict:
    """What the node says of what it has chosen."""
    return {"tolerance": outputs[2], "cycle": outputs[3], "text": outputs[5]}


def show(report: dict):
    table = Table(title=f"Chosen on classes {report['seen']}, tried on {report['unseen']}: {report['pictures']} pictures each, "
                        f"{report['steps']} euler steps")
    for column in ("run", "tolerance", "FLOPs speed-up", "speed-up", "PSNR mean", "worst 5%"):
        table.add_column(column, justify="left" if column == "run" else "right")
    for row in report["rows"]:
        table.add_row(row["run"], f"{row['told']['tolerance']}", f"{row['speedup']:.2f}x", f"{row['wall']:.2f}x",
                      f"{row['psnr'][0]:.1f} +- {row['error']:.1f}", f"{row['psnr'][1]:.1f}")
    Console().print(table)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="run.py calibration", description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=6, help="batches of eight pictures on either side (default 6)")
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--targets", nargs="+", default=TARGETS, help=f"default {', '.join(TARGETS)}")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    return parser.parse_args()


def main():
    given = arguments()
    with tempfile.TemporaryDirectory() as folder:
        folder_paths.set_user_directory(folder)                     # what was measured before is measured again
        report = measure(given)
    show(report)
    if given.json:
        given.json.write_text(dumps(report, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
