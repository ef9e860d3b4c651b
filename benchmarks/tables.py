"""The bench's figures as tables, on the console and as Markdown: the same columns, the same cells."""

import math

from rich.console import Console
from rich.table import Table

from benchmarks import figures

COLUMNS = {
    "run": lambda row: row["family"],
    "setting": lambda row: row["setting"],
    "seconds": lambda row: f"{row['seconds']:.2f}",
    "speed-up": lambda row: f"{row['speedup']:.2f}x",
    "TFLOPs": lambda row: f"{row['flops'] / 1e12:.3f}",
    "FLOPs\nspeed-up": lambda row: f"{row['flops_speedup']:.2f}x",
    "wall /\nFLOPs": lambda row: f"{row['wall_over_flops']:.2f}",
    "model\ncalls": lambda row: f"{row['model_calls']:.1f} / {row['evaluations']:.0f}",
    "PSNR\nmean": lambda row: decibels(row["psnr_mean"]),
    "worst\n5%": lambda row: decibels(row["psnr_worst"]),
    "+-": lambda row: f"{row['error']:.1f}",
    "SSIM": lambda row: f"{row['ssim']:.4f}",
    "right": lambda row: f"{row['accuracy']:.0%}",
}
TRUTH = {"to the truth\nmean": lambda row: decibels(row["truth_mean"]), "worst\n5%, truth": lambda row: decibels(row["truth_worst"])}
FIGURES = {"psnr_mean": "PSNR mean", "psnr_worst": "worst 5%"}


def decibels(value: float) -> str:
    return "identical" if math.isinf(value) else f"{value:.1f}"


def measured(rows: list[dict], columns=COLUMNS) -> list[list[str]]:
    """Titles, then a line for every row like those of `measuring.Comparison.rows`."""
    if all(row.get("truth_mean") is not None for row in rows):
        columns = {**columns, **TRUTH}
    return [list(columns), *([cell(row) for cell in columns.values()] for row in rows)]


def at_equal_speed(leads: list[dict]) -> list[list[str]]:
    """Titles, then a line for every entry of `figures.leads`."""
    def rival(found):
        return f"{found['psnr']:.1f} ({found['family']})" if found else "-"
    lines = [[f"{one['speedup']:g}x", FIGURES[one["figure"]], rival(one["cache"]), rival(one["solver"]),
              f"{one['ours']['psnr']:.1f}" if one["ours"] else "-", "-" if one["lead"] is None else f"{one['lead']:+.1f} dB"]
             for one in leads]
    return [["speed-up", "figure", "best cache", "best solver, fewer steps", "ours", "lead"], *lines]


def beside(rows: list[dict], earlier: list[dict]) -> list[list[str]]:
    """Titles, then a line for every row that `earlier` has too, with its pictures' own PSNR: calls, PSNR then and now, the difference."""
    known = {(row["family"], row["setting"]): row for row in earlier if "psnr" in row}
    lines = []
    for row in rows:
        if (other := known.get((row["family"], row["setting"]))) and row["kind"] != "plain":
            mean, error = figures.difference(row["psnr"], other["psnr"])
            lines.append([row["family"], row["setting"], f"{other['model_calls']:.1f}", f"{row['model_calls']:.1f}",
                          f"{decibels(other['psnr_mean'])} / {decibels(other['psnr_worst'])}",
                          f"{decibels(row['psnr_mean'])} / {decibels(row['psnr_worst'])}", f"{mean:+.2f} dB", f"{error:.2f}"])
    return [["run", "setting", "calls then", "calls now", "PSNR then\nmean / worst 5%", "PSNR now\nmean / worst 5%", "by picture", "+-"],
            *lines]


def show(lines: list[list[str]], title: str):
    """On the console; no cell is cut, however narrow that is."""
    table = Table(title=title)
    for index, name in enumerate(lines[0]):
        table.add_column(name, justify="left" if index < 2 else "right", no_wrap=True)
    for line in lines[1:]:
        table.add_row(*line)
    needed = Console(width=1000).measure(table).maximum
    Console(width=max(needed, Console().width)).print(table)


def markdown(lines: list[list[str]]) -> str:
    titles, aligned = [title.replace("\n", " ") for title in lines[0]], ["---", "---", *["---:"] * (len(lines[0]) - 2)]
    return "".join(f"| {' | '.join(line)} |\n" for line in (titles, aligned, *lines[1:]))
