"""The bench's curves: PSNR, mean and of the worst 5%, over wall speed-up and over FLOPs speed-up."""

import math
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

LINES = {"solver": "--", "cache": "-", "rival": "-", "ours": "-", "refined": "-", "ablation": "-."}
# Colours after Okabe and Ito, which the colour-blind tell apart; line and marker say the same again.
SOLVERS = (("#0072B2", "o"), ("#56B4E9", "s"), ("#009E73", "^"), ("#7F7F7F", "D"), ("#004D40", "v"))
CACHES = (("#E69F00", "o"), ("#B8860B", "s"), ("#D55E00", "^"), ("#CC79A7", "D"), ("#882255", "v"), ("#332288", "P"))
ABLATIONS = (("#E69F00", "o"), ("#56B4E9", "s"), ("#009E73", "^"), ("#CC79A7", "D"), ("#0072B2", "v"), ("#D55E00", "P"), ("#7F7F7F", "X"))
PALETTES = {"solver": SOLVERS, "cache": CACHES, "rival": CACHES, "ours": (("black", "o"), ("#555555", "D"), ("#AA0000", "s")),
            "ablation": ABLATIONS, "refined": (("#0000AA", "o"),)}
FILLS = ("full", "none", "left", "top")
AXES = {"speedup": "speed-up, wall-clock", "flops_speedup": "speed-up, FLOPs"}
FIGURES = {"psnr_mean": "PSNR to the plain run, mean [dB]", "psnr_worst": "PSNR, worst 5% [dB]"}
TRUTH = {"truth_mean": "PSNR to the truth, mean [dB]", "truth_worst": "PSNR to the truth, worst 5% [dB]"}
TICKS = (1, 1.25, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10)


def curves(rows: list[dict], kinds: tuple[str, ...]) -> dict:
    """Family -> its rows of finite PSNR, by speed; only of these kinds, in their order."""
    chosen = [row for kind in kinds for row in rows if row["kind"] == kind and math.isfinite(row["psnr_mean"])]
    return {family: [row for row in chosen if row["family"] == family] for family in dict.fromkeys(row["family"] for row in chosen)}


def draw(rows: list[dict], kinds: tuple[str, ...], title: str, path: Path, figures: dict[str, str] = FIGURES):
    """Write the curves of these kinds of families as a PNG; figures: which of a row's, and their names."""
    figure = Figure(figsize=(13, 9.5), layout="constrained")
    axes, used = figure.subplots(2, 2, sharex="col", sharey="row"), dict.fromkeys(kinds, 0)
    for family, members in curves(rows, kinds).items():
        kind = members[0]["kind"]
        again, place = divmod(used[kind], len(PALETTES[kind]))       # more families than colours: the next ones are filled otherwise
        used[kind] += 1
        (colour, marker), filled = PALETTES[kind][place], FILLS[again % len(FILLS)]
        style = {"color": colour, "marker": marker, "fillstyle": filled, "linestyle": LINES[kind], "label": family,
                 "zorder": 3 if kind == "ours" else 2,
                 "linewidth": 2.6 if kind == "ours" else 1.4, "markersize": 6}
        for line, value in zip(axes, figures, strict=True):
            for axis, speed in zip(line, AXES, strict=True):
                axis.plot(*zip(*sorted((row[speed], row[value]) for row in members), strict=True), **style)
    finish(axes, figures)
    figure.suptitle(title)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(path, dpi=110)


def finish(axes, figures: dict[str, str]):
    """Scales, grids and names."""
    for line, label in zip(axes, figures.values(), strict=True):
        line[0].set_ylabel(label)
    for column, label in zip(axes.T, AXES.values(), strict=True):
        column[1].set_xlabel(label)
        for axis in column:
            axis.set_xscale("log")
            axis.xaxis.set_major_locator(FixedLocator(TICKS))
            axis.xaxis.set_minor_locator(NullLocator())
            axis.xaxis.set_major_formatter(StrMethodFormatter("{x:g}x"))
            axis.grid(alpha=0.3)
