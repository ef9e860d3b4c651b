"""What the scores cost, and how well s1 is known from some of the queries of an attention, as level module reads it.

    python run.py scoring [--quick] [--json FILE] [--threads N]

First: how queries spread over the attention rank the tokens, on the demo model's own attention at 64 and, where it was never trained, at
128 px: Spearman's correlation with the s1 of all queries over blocks, noise levels and pictures. Second: what that changes in pictures of
preset paper, 64 px, as PSNR to plain sampling. Third: seconds of s1 beside one fused attention, at the shapes of the demo model, DiT and
FLUX. Fourth: scoring and selection together as a share of a run of the demo model. Times are medians. --quick: less of the first two.
"""

import argparse
import statistics
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from functools import partial, wraps
from pathlib import Path
from unittest.mock import patch

sys.path.append(str(Path(__file__).resolve().parent.parent))

import torch
import torch.nn.functional as F

from benchmarks import figures, measuring, tables
from benchmarks.variants import plain, presets, published, toca
from demo import subjects
from toca_core import quality
from toca_core.finite import dumps
from tools.pack import pack_module

attention, selection, regions = (pack_module(f"toca_core.select.{name}") for name in ("attention", "selection", "regions"))
schedule, config = (pack_module(f"toca_core.{name}") for name in ("schedule", "config"))

STEPS, LEVELS = 30, (1, 5, 10, 15, 20, 27)          # steps whose attention is looked at
QUERIES = {64: (64, 128), 128: (64, 128, 256)}      # by the side of the picture, in pixels
FEWEST = (32, 64, 128)                              # queries that the pictures are made with; of 256
PICTURES = {False: 24, True: 8}                     # quick or not
SHAPES = {"demo": (8, 3, 256, 64), "DiT-XL, 512 px": (2, 16, 1024, 72), "FLUX, 512 px": (1, 24, 1280, 128),
          "FLUX, 1024 px": (1, 24, 4608, 128)}
COUNTED = ((attention, "received"), (attention, "entropy"), (selection.Selector, "plan"), (selection.Selector, "select"),
           (regions.Plan, "renew"))


def observed(model, batch) -> list:
    """Queries and keys (B, heads, N, d) of all blocks at some of the steps of one run."""
    blocks, found, step = model.model.diffusion_model.blocks, [], 0

    def look(module, inputs, qkv):
        if step in LEVELS:
            found.append(tuple(attention.split_heads(x, blocks[0].attn.num_heads).clone() for x in qkv.chunk(3, dim=-1)[:2]))

    def count(executor, *args, **kwargs):
        nonlocal step
        step += 1
        return executor(*args, **kwargs)

    model = model.clone()
    model.add_wrapper_with_key(measuring.WrappersMP.PREDICT_NOISE, "scoring", count)
    hooks = [block.attn.qkv.register_forward_hook(look) for block in blocks]
    try:
        measuring.sample(model, plain("euler", STEPS), batch, cfg=3.0)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def spearman(one, other):
    """Rank correlation of (B, N) with (B, N) -> (B,)."""
    ranks = [x.argsort(-1).argsort(-1).float() for x in (one, other)]
    return F.cosine_similarity(*(x - x.mean(-1, keepdim=True) for x in ranks), dim=-1)


def rows_of(count: int, q):
    """As many queries of q (B, heads, N, d); None where that is all."""
    return None if count == q.shape[2] else attention.spread_rows(count, q.shape[2], q.shape[1], q.device)


def correlations(model, side: int, pictures: int) -> list[dict]:
    [batch] = measuring.make_batches(pictures, pictures, replace(subjects.SHAPES, size=(side, side)))
    found = observed(model, batch)
    tokens, rows = found[0][0].shape[2], []
    exact = [attention.received(q, k) for q, k in found]
    for count in QUERIES[side]:
        every = torch.cat([spearman(one, attention.received(q, k, rows_of(count, q))) for one, (q, k) in zip(exact, found, strict=True)])
        rows.append({"tokens": tokens, "queries": count, "mean": every.mean().item(), "worst_tenth": every.quantile(0.1).item(),
                     "lowest": every.min().item()})
    return rows


def likenesses(model, pictures: int) -> list[dict]:
    """PSNR of preset paper to plain sampling, dB, with s1 from all queries and from few, and with random tokens."""
    batches, paper = measuring.make_batches(pictures, 4), published.dit(STEPS)
    runs = {"all queries": (paper, schedule.FEWEST_QUERIES), **{f"{count} of 256": (replace(paper, score_queries=0.0), count)
                                                                for count in reversed(FEWEST)},
            "random tokens": (replace(paper, score="random"), schedule.FEWEST_QUERIES)}
    references = [measuring.sample(model, plain("euler", STEPS), batch, cfg=3.0)[0] for batch in batches]
    rows = []
    for name, (settings, fewest) in runs.items():
        with patch.object(schedule, "FEWEST_QUERIES", fewest):
            found = [quality.psnr(measuring.sample(toca(settings)(model), plain("euler", STEPS), batch, cfg=3.0)[0], reference)
                     for batch, reference in zip(batches, references, strict=True)]
        mean, worst = figures.mean_and_worst(torch.cat(found).tolist())
        rows.append({"queries": name, "psnr_mean": mean, "psnr_worst": worst})
    return rows


def seconds_of(function, repeats: int) -> float:
    function()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        function()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def timings(dtype) -> list[dict]:
    rows = []
    for name, shape in SHAPES.items():
        q, k = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0)).to(dtype).unbind(0)
        read = schedule.queries_read(config.ToCaConfig(), shape[2])
        ways = {"attention": partial(F.scaled_dot_product_attention, q, k, k), "all": partial(attention.received, q, k),
                "read": partial(attention.received, q, k, rows_of(read, q))}
        repeats = 5 if shape[2] <= 2048 else 3
        rows.append({"shape": name, "dtype": str(dtype).split(".")[-1], "queries": read,
                     **{way: seconds_of(run, repeats) for way, run in ways.items()}})
    return rows


def share_of(model, batch, config) -> float:
    """Seconds inside `COUNTED` over those of the run; on a CPU, where nothing runs on after a call."""
    spent = []

    def timed(function):
        @wraps(function)
        def run(*args, **kwargs):
            began = time.perf_counter()
            result = function(*args, **kwargs)
            spent.append(time.perf_counter() - began)
            return result
        return run

    with ExitStack() as patches:
        for owner, name in COUNTED:
            patches.enter_context(patch.object(owner, name, timed(getattr(owner, name))))
        _, seconds = measuring.sample(toca(config)(model), plain("euler", STEPS), batch, cfg=3.0)
    return sum(spent) / seconds


def shares(model, batch) -> list[dict]:
    auto, paper = presets.auto(STEPS, base=published.dit(STEPS)), published.dit(STEPS)
    settings = {"auto": auto, "auto, tenth of the tokens by s1": replace(auto, refresh_ratio=0.1, refresh="self_attn"),
                "auto, tenth of the tokens by error": replace(auto, refresh_ratio=0.1), "paper": paper,
                "paper, random tokens": replace(paper, score="random")}
    return [{"settings": name, "share": statistics.median(share_of(model, batch, config) for _ in range(3))}
            for name, config in settings.items()]


def main():
    parser = argparse.ArgumentParser(prog="run.py scoring", description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer pictures, none larger than the model was trained on")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    model, [batch] = subjects.SHAPES.load(), measuring.make_batches(4, 4)
    with torch.inference_mode():
        report = {"threads": given.threads, "torch": torch.__version__,
                  "correlations": correlations(model, 64, 4) + ([] if given.quick else correlations(model, 128, 2)),
                  "likenesses": likenesses(model, PICTURES[given.quick]),
                  "timings": timings(torch.float32) + timings(torch.bfloat16), "shares": shares(model, batch)}
    show(report)
    if given.json:
        given.json.write_text(dumps(report, indent=2) + "\n", encoding="utf-8")


def show(report: dict):
    tables.show([["tokens", "queries", "mean", "worst tenth", "lowest"],
                 *([f"{row['tokens']}", f"{row['queries']}", *(f"{row[key]:.3f}" for key in ("mean", "worst_tenth", "lowest"))]
                   for row in report["correlations"])], "Rank correlation of s1 from some of the queries with that from all")
    tables.show([["s1 from", "PSNR mean", "worst 5%"], *([row["queries"], f"{row['psnr_mean']:.2f}", f"{row['psnr_worst']:.2f}"]
                                                         for row in report["likenesses"])], "Preset paper, 64 px, dB")
    ways = ("attention", "all", "read")
    tables.show([["shape", "numbers", "queries", "attention", "all queries", "as read"],
                 *([row["shape"], row["dtype"], f"{row['queries']}", *(f"{1000 * row[way]:.1f}" for way in ways)]
                   for row in report["timings"])], "s1, and one fused attention, in ms")
    tables.show([["settings", "share"], *([row["settings"], f"{row['share']:.1%}"] for row in report["shares"])],
                "Scoring and selection in a run")


if __name__ == "__main__":
    main()
