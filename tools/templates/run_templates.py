"""The host's own templates with ToCa Cache before every sampler, on tiny stand-ins for their models: which are accepted, and which run.

    python run.py templates [FOLDER] [--json FILE] [--only NAME ...] [--accept-only]

FOLDER holds workflows as the front end saves them; without it, those are taken that come with the host. Wants Chromium.
"""

import argparse
import datetime
import os
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2]))       # last, or the project's nodes/ would hide the host's nodes.py

try:
    from rich.console import Console
    from rich.table import Table
    from tqdm import tqdm
except ModuleNotFoundError as missing:
    sys.exit(f'This needs the package {missing.name}: run "{sys.executable}" -m pip install -r requirements-dev.txt')

from toca_core.finite import dumps
from tools.server import ServerError
from tools.templates.front_end import FrontEnd
from tools.templates.graph import samples
from tools.templates.page import page
from tools.templates.server import server_with_stand_ins
from tools.templates.shrink import FEWEST, STEPS
from tools.templates.sources import NoTemplates, package_folder, read
from tools.templates.trial import Row, try_template

PAGE = Path(__file__).resolve().parents[2] / "docs" / "templates.md"
SIGNS = {True: "yes", False: "no", None: "-"}


def run_all(folder: Path, only: list[str], steps: int, done: Callable[[list[Row], int], None] = lambda *_: None) -> tuple[list[Row], int]:
    """(a row for each template with a diffusion model of this machine, how many templates there are); `done` is told after each."""
    templates, rows = read(folder, only), []
    with server_with_stand_ins() as server:
        client = server.client()
        info = client.object_info()
        samplers = {name for name, node in info.items() if samples(node)}
        local = [template for template in templates if template.node_types() & samplers]
        with FrontEnd(server.url, info) as front_end:       # closed before the runs: an idle page costs a tenth of a core
            prompts = [front_end.prompt(template) for template in tqdm(local, desc="read", unit="template")]
        for template, prompt in zip(tqdm(local, desc="run", unit="template"), prompts, strict=True):
            rows.append(try_template(template, prompt, info, client, steps))
            done(rows, len(templates))
    return rows, len(templates)


def table(rows: list[Row]) -> Table:
    shown = Table("template", "class", "accepted", "level", "ran", "full + partial", "reason", title="Templates with ToCa Cache")
    for row in rows:
        steps = ", ".join(f"{calls['full'] + calls['plain']} + {calls['partial']}" for calls in row.steps)
        shown.add_row(row.template, ", ".join(row.classes) or "-", SIGNS[row.accepted], ", ".join(row.levels) or "-", SIGNS[row.ran],
                      steps or "-", row.reason[:160])
    return shown


def totals(rows: list[Row], all_templates: int) -> dict:
    """What the rows come to."""
    sampled = [row for row in rows if row.classes]
    return {"templates": all_templates, "with a local model": len(rows), "with a tiny model": len(sampled),
            "fit without ToCa Cache": sum(bool(row.fits) for row in rows), "accepted": sum(bool(row.accepted) for row in rows),
            "ran": sum(bool(row.ran) for row in rows), "classes": dict(Counter(name for row in sampled for name in row.classes)),
            "passed by": dict(Counter(name for row in rows for name in row.passed_by))}


def main() -> int:
    parser = argparse.ArgumentParser(prog="run.py templates", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="workflows (default: the host's own templates)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all that was found out to this file")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="these templates, by the names of their files")
    parser.add_argument("--page", action="store_true", help="write docs/templates.md")
    parser.add_argument("--accept-only", action="store_true", help=f"runs of {FEWEST} steps: only to see which models are accepted")
    options = parser.parse_args()

    def write(rows: list[Row], count: int) -> None:
        if options.json:
            options.json.write_text(dumps({"totals": totals(rows, count), "rows": [asdict(row) for row in rows]}, indent=1))

    try:
        steps = FEWEST if options.accept_only else STEPS
        rows, count = run_all(options.folder or package_folder(), options.only, steps, done=write)
    except (NoTemplates, ServerError) as error:
        print(error, file=sys.stderr)
        return 1
    Console(width=None if sys.stdout.isatty() else 200).print(table(rows))
    if options.page:
        sys.path.insert(0, os.environ["COMFYUI_PATH"])
        from comfyui_version import __version__ as host
        text = page(rows, count, " --accept-only" if options.accept_only else "", host, datetime.date.today().isoformat())
        PAGE.write_text(text, encoding="utf-8")
    print("\n".join(f"{name}: {value}" for name, value in totals(rows, count).items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
