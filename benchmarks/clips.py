"""Token by token on a video model: clips whose background stands still, that pan, or in which much moves.

    python run.py clips [--count 32] [--steps 30] [--kinds still pan busy] [--json FILE] [--out DIR]

The demo's third model draws `count` clips of each kind, plainly and in several ways of caching:

    whole steps      level stack, every token of a step or none; `tolerance`
    + erring tokens  as that, and on the steps in between the tokens whose forecast erred most at the last full step; `refresh_ratio`
    + moving tokens  as whole steps, and on the steps in between the tokens in which the plain clip moves, which nobody knows beforehand
    module level     the paper's: each module computes the fresh tokens of a step, by its scores

What counts is PSNR to the plain clip of the same seed, of all of it and of what moves and what does not, at equal counted FLOPs.
"""

import sys
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT))

import torch
from matplotlib.figure import Figure
from tqdm import tqdm

from benchmarks import demo_quality, figures, pages, tables
from demo import clips, clips_model
from toca_core import quality
from tools.pack import load_host, pack_module

load_host(cpu=not torch.cuda.is_available(), float32=True)
import comfy.sample

config, settings, seam, node, published = (pack_module(name) for name in (
    "toca_core.config", "nodes.host.settings", "nodes.host.seam", "nodes.toca_token_mask", "toca_core.published"))
CFG, SCHEDULER, PEAK = 2.0, "simple", 2.0                           # of clips in -1..1
STILL = 0.05                        # by how little a pixel's values change in a clip, in -1..1, where nothing moves
WHOLE, SHARES, TOKENWISE, CYCLES = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0), (0.1, 0.25), (1.0, 4.0, 16.0), (2, 3, 4)
SPEEDS = (1.5, 2.0, 2.5, 3.0, 4.0)
ENTIRE, MOVING = "whole steps", "+ moving tokens"
COLUMNS = {"all of it": "psnr", "what moves": "moving", "what does not": "rest"}


INTRODUCTION = """# Token by token on a video model

{machine}; threads: {threads}; torch {torch}, ComfyUI {host}; {date}. Written by `python run.py clips`.

The demo's third model, a small Wan: {count} clips of each kind, 8 frames of 24 x 24 pixels, 288 tokens, {steps} euler steps, guidance
{guidance:g}. *still*: one disc moves before a background that does not; *pan*: all moves alike; *busy*: three discs move. PSNR is that to
the plain clip of the same seed. {shown:.0%} of the plain clips show what they were asked for. FLOPs are those that the runs' reports
count, which tests hold against torch's counter.

![PSNR over FLOPs speed-up](clips.png)

"""


def ways() -> dict[tuple[str, str], tuple]:
    """(family, setting) -> (settings of the core, whether the moving tokens are given as a mask)."""
    stack = config.ToCaConfig(level="stack", mask_dilation=0)
    found = {(ENTIRE, f"tolerance {value:g}"): (replace(stack, tolerance=value), False) for value in WHOLE}
    for share in SHARES:
        found |= {(f"+ {share:.0%} erring tokens", f"tolerance {value:g}"):
                  (replace(stack, tolerance=value, refresh="error", refresh_ratio=share), False) for value in TOKENWISE}
    found |= {(MOVING, f"tolerance {value:g}"): (replace(stack, tolerance=value), True) for value in TOKENWISE}
    paper = replace(published.OPEN_SORA, level="module", tolerance=None, score="self_attn")
    return found | {("module level", f"cycle {cycle}"): (replace(paper, cycle=cycle), False) for cycle in CYCLES}


def moving(clip):
    """Of clips (B, 3, frames, H, W) the pixels of each frame that change between it and a neighbour, (B, frames, H, W)."""
    change = clip.diff(dim=2).abs().amax(1) > STILL
    before = torch.nn.functional.pad(change, (0, 0, 0, 0, 1, 0))
    return before | torch.nn.functional.pad(change, (0, 0, 0, 0, 0, 1))


def sample(model, caption: str, seed: int, steps: int):
    """One clip (1, 3, frames, H, W)."""
    latent, (asked, nothing) = torch.zeros(1, 3, clips.FRAMES, clips.SIZE, clips.SIZE), map(clips_model.conditioning, ([caption], [""]))
    noise = comfy.sample.prepare_noise(latent, seed)
    with torch.inference_mode():
        result = comfy.sample.sample(model, noise, steps, CFG, "euler", SCHEDULER, asked, nothing, latent, disable_pbar=True, seed=seed)
    return result.float().cpu().clamp(-1, 1)


def measure(kind: str, count: int, steps: int) -> tuple[list[dict], int]:
    """-> (a row for each way of caching, over `count` clips of one kind; how many of the plain ones show what they were asked for)."""
    plain, chosen, shown = clips_model.load_clips(str(clips_model.FILE)), ways(), 0
    found = {name: {"reports": [], "psnr": [], "moving": [], "rest": []} for name in chosen}
    for seed, words in enumerate(tqdm(clips.choose(count, torch.Generator().manual_seed(0), kind=kind), desc=kind)):
        caption = clips.caption(words)
        reference = sample(plain, caption, seed, steps)
        shown, moves = shown + clips.shown(reference[0], words), moving(reference)
        for name, (given, masked) in chosen.items():
            model = seam.install(plain, settings.Settings("custom", given), found[name]["reports"].append)
            clip = sample(node.ToCaTokenMask.execute(model, moves[0].float(), 0)[0] if masked else model, caption, seed, steps)
            for key, where in {"psnr": torch.ones_like(moves), "moving": moves, "rest": ~moves}.items():
                if where.any():
                    one, other = (each.movedim(1, -1)[where] for each in (clip, reference))
                    found[name][key] += quality.psnr(one[None], other[None], PEAK).tolist()
    return [row(kind, *name, **figures_of) for name, figures_of in found.items()], shown


def row(kind: str, family: str, setting: str, reports: list, psnr: list[float], moving: list[float], rest: list[float]) -> dict:
    flops = sum(report.plain_flops for report in reports) / sum(report.flops for report in reports)
    steps = [step.kind for report in reports for step in report.steps]
    made = {"kind": kind, "family": family, "setting": setting, "flops_speedup": flops, "full": steps.count("full") / len(reports)}
    for key, values in (("psnr", psnr), ("moving", moving), ("rest", rest)):
        made[f"{key}_mean"], made[f"{key}_worst"] = figures.mean_and_worst(values)
    return {**made, "error": figures.standard_error(psnr)}


def measured(rows: list[dict]) -> list[list[str]]:
    """Titles, then a line for every row."""
    lines = [["clips", "way", "setting", "FLOPs speed-up", "full steps", *(f"{title}: mean / worst" for title in COLUMNS), "+-"]]
    for row in rows:
        likeness = [f"{row[key + '_mean']:.1f} / {row[key + '_worst']:.1f}" for key in COLUMNS.values()]
        lines.append([row["kind"], row["family"], row["setting"], f"{row['flops_speedup']:.2f}x", f"{row['full']:.1f}", *likeness,
                      f"{row['error']:.1f}"])
    return lines


def at_equal_flops(rows: list[dict]) -> list[list[str]]:
    """Titles, then for each kind and speed-up what every way reaches there, mean / worst of all of the clip in dB."""
    families = list(dict.fromkeys(row["family"] for row in rows))
    lines = [["clips", "FLOPs speed-up", *families]]
    for kind in dict.fromkeys(row["kind"] for row in rows):
        curves = [[row for row in rows if (row["kind"], row["family"]) == (kind, family)] for family in families]
        for speed in SPEEDS:
            of_ways = [[figures.at_speed([(row["flops_speedup"], row[key]) for row in curve], speed) for key in ("psnr_mean", "psnr_worst")]
                       for curve in curves]
            lines.append([kind, f"{speed:g}x", *("-" if None in pair else f"{pair[0]:.1f} / {pair[1]:.1f}" for pair in of_ways)])
    return lines


def drawn(rows: list[dict]) -> Figure:
    """A panel for each kind: PSNR over FLOPs speed-up, a line for each way."""
    kinds = list(dict.fromkeys(row["kind"] for row in rows))
    figure = Figure(figsize=(4 * len(kinds), 3.6), layout="constrained")
    for axes, kind in zip(figure.subplots(1, len(kinds), squeeze=False)[0], kinds, strict=True):
        for family in dict.fromkeys(row["family"] for row in rows):
            points = sorted((row["flops_speedup"], row["psnr_mean"]) for row in rows if (row["kind"], row["family"]) == (kind, family))
            axes.plot(*zip(*points, strict=True), marker="o", markersize=3, label=family)
        axes.set(title=kind, xlabel="FLOPs speed-up", ylabel="PSNR, dB", xscale="log")
        axes.grid(alpha=0.3)
    figure.axes[0].legend(fontsize=7)
    return figure


def save(report: dict, out: Path):
    """clips.md and the curves beside it."""
    out.mkdir(parents=True, exist_ok=True)
    drawn(report["rows"]).savefig(out / "clips.png", dpi=130)
    text = INTRODUCTION.format(**report)
    text += f"At equal FLOPs, mean / worst 5% in dB:\n\n{tables.markdown(at_equal_flops(report['rows']))}\n"
    (out / "clips.md").write_text(text + tables.markdown(measured(report["rows"])), encoding="utf-8")


def main():
    parser = pages.parser_of("clips", __doc__)
    parser.add_argument("--count", type=int, default=32, help="clips of each kind (default 32)")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--kinds", nargs="+", choices=clips.KINDS, default=list(clips.KINDS))
    given = parser.parse_args()
    measures = [measure(kind, given.count, given.steps) for kind in given.kinds]
    rows = [row for of_kind, _ in measures for row in of_kind]
    shown = sum(shown for _, shown in measures) / (given.count * len(given.kinds))
    report = {**demo_quality.surroundings(), "count": given.count, "steps": given.steps, "guidance": CFG, "shown": shown, "rows": rows}
    pages.deliver(given, "clips", report, save, measured(rows), f"{given.count} clips of each kind, {given.steps} euler steps")


if __name__ == "__main__":
    main()
