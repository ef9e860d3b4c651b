"""What the scores cost, and whether less would do: s1 from the attention map, at fused speed, and from a sample of the queries.

    python run.py scoring [--json FILE] [--threads N]

First: how well sampled queries rank the tokens, on the demo model's own attention, as Spearman's correlation with the exact s1 over
blocks, noise levels and pictures. Second: seconds of each way beside one fused attention, at the shapes of the demo model, DiT and FLUX.
Third: scoring and selection together as a share of a run of the demo model. Times are medians.
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

from benchmarks import measuring, tables
from benchmarks.variants import plain, presets, published, toca
from demo import subjects
from toca_core.finite import dumps
from tools.pack import pack_module

attention, selection, regions = (pack_module(f"toca_core.select.{name}") for name in ("attention", "selection", "regions"))

STEPS, LEVELS = 30, (1, 5, 10, 15, 20, 27)          # steps whose attention is looked at
QUERIES, TIMED_QUERIES = (16, 64, 128), 64
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


def sampled(q, k, count: int):
    """s1 of a stratified sample of the queries."""
    generator, stride = torch.Generator().manual_seed(0), q.shape[2] // count
    rows = torch.arange(count) * stride + torch.randint(stride, (count,), generator=generator)
    return attention.received_dense(q[:, :, rows.to(q.device)], k)


def spearman(one, other):
    """Rank correlation of (B, N) with (B, N) -> (B,)."""
    ranks = [x.argsort(-1).argsort(-1).float() for x in (one, other)]
    return F.cosine_similarity(*(x - x.mean(-1, keepdim=True) for x in ranks), dim=-1)


def correlations(model, batch) -> list[dict]:
    found = observed(model, batch)
    rows = []
    for count in QUERIES:
        every = torch.cat([spearman(attention.received(q, k), sampled(q, k, count)) for q, k in found])
        rows.append({"queries": count, "of": found[0][0].shape[2], "mean": every.mean().item(), "worst_tenth": every.quantile(0.1).item(),
                     "lowest": every.min().item()})
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
        ways = {"attention": partial(F.scaled_dot_product_attention, q, k, k), "map": partial(attention.received_dense, q, k),
                "fused": partial(attention.received_fused, q, k), "sampled": partial(sampled, q, k, TIMED_QUERIES)}
        repeats = 5 if shape[2] <= 2048 else 3
        rows.append({"shape": name, "dtype": str(dtype).split(".")[-1], **{way: seconds_of(run, repeats) for way, run in ways.items()}})
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
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    model, [batch] = subjects.SHAPES.load(), measuring.make_batches(4, 4)
    with torch.inference_mode():
        report = {"threads": given.threads, "torch": torch.__version__, "correlations": correlations(model, batch),
                  "timings": timings(torch.float32) + timings(torch.bfloat16), "shares": shares(model, batch)}
    tables.show([["queries", "of", "mean", "worst tenth", "lowest"],
                 *([f"{row['queries']}", f"{row['of']}", *(f"{row[key]:.3f}" for key in ("mean", "worst_tenth", "lowest"))]
                   for row in report["correlations"])], "Rank correlation of sampled queries' s1 with the exact one")
    ways = ("attention", "map", "fused", "sampled")
    tables.show([["shape", "numbers", *ways], *([row["shape"], row["dtype"], *(f"{1000 * row[way]:.1f}" for way in ways)]
                                                for row in report["timings"])], "s1, and one fused attention, in ms")
    tables.show([["settings", "share"], *([row["settings"], f"{row['share']:.1%}"] for row in report["shares"])],
                "Scoring and selection in a run")
    if given.json:
        given.json.write_text(dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
