"""Where a bench's page, curves and figures go: the same two options, the same end."""

import argparse
from collections.abc import Callable
from pathlib import Path

from benchmarks import tables
from toca_core.finite import dumps

ROOT = Path(__file__).resolve().parent.parent


def parser_of(name: str, doc: str) -> argparse.ArgumentParser:
    """For `run.py NAME`, with --json and --out; doc: its module's docstring."""
    parser = argparse.ArgumentParser(prog=f"run.py {name}", description=doc.split("\n")[0])
    parser.add_argument("--json", type=Path, help="also write every figure here")
    parser.add_argument("--out", type=Path, default=ROOT / "output" / name, help=f"where table and curves go (default output/{name})")
    return parser


def write(out: Path, name: str, report: dict, introduction: str, measured: str, lines: list[list[str]]):
    """NAME.md: the introduction, what was measured, where and when, and the table."""
    out.mkdir(parents=True, exist_ok=True)
    where = f"{report['machine']}; torch {report['torch']}, ComfyUI {report['host']}; {report['date']}. Written by `python run.py {name}`."
    (out / f"{name}.md").write_text(f"{introduction}\n\n{measured}; {where}\n\n{tables.markdown(lines)}", encoding="utf-8")


def deliver(given: argparse.Namespace, name: str, report: dict, save: Callable, lines: list[list[str]], title: str):
    """Show the table, and write what save(report, folder) does, and the figures if they are asked for."""
    tables.show(lines, title)
    save(report, given.out)
    if given.json:
        given.json.write_text(dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"It is written in {given.out / f'{name}.md'}")
