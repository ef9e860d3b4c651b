"""What the matrix found, as a part of docs/trust.md."""

from collections import Counter, defaultdict
from pathlib import Path

from tools.models_page import between, part

from .graph import CONDITIONS
from .row import Cell

NAME = "matrix"
EXPLAINED = (
    "Close: the distance from the result without ToCa Cache, in the same graph, is below half of that to another seed's. Where it is",
    "more, it has to fall below that, and by a third, where steps or the tolerance are three times as fine, or by five ninths where they",
    "are nine times. Weights are random, so that steps differ far more than those of a trained model, and what they make of new noise",
    "cannot be told beforehand: a sampler that adds noise adds the same at each of the finer steps.",
)


def write(path: Path, cells: list[Cell], host: str):
    """Replaces the part between the marks, or adds it at the end; whatever else the page says stays."""
    before = path.read_text(encoding="utf-8") if path.is_file() else "# Trust\n"
    known, new = part(before, NAME), between(NAME, table(cells, host))
    path.write_text(before.rstrip("\n") + "\n\n" + new if known is None else before.replace(between(NAME, known), new), encoding="utf-8")


def table(cells: list[Cell], host: str) -> str:
    """In Markdown: a row for each condition, the outcomes of all models and settings in it."""
    tried = [cell for cell in cells if cell.outcome != "left out"]
    counts = Counter(cell.outcome for cell in tried)
    lines = [f"ComfyUI {host}: {len(tried)} cells of {len({cell.condition for cell in tried})} conditions, "
             f"{len({cell.model for cell in tried})} tiny models and {len({cell.setting for cell in tried})} settings; "
             f"{counts['close']} close, {counts['plain']} plain with a reason, {counts['refused']} refused by name, "
             f"{counts['wrong']} wrong. (`python run.py test --matrix`)", "", *EXPLAINED, "",
             "| in the graph | close | plain | refused | wrong | largest distance |", "|---|---|---|---|---|---|"]
    rows: dict[str, list[Cell]] = defaultdict(list)
    for cell in tried:
        rows[cell.condition].append(cell)
    for name, own in sorted(rows.items(), key=lambda row: list(CONDITIONS).index(row[0])):
        found = Counter(cell.outcome for cell in own)
        worst = max((cell.error for cell in own if cell.error is not None), default=None)
        told = " | ".join(str(found[outcome]) for outcome in ("close", "plain", "refused", "wrong"))
        lines.append(f"| {name} | {told} | {'' if worst is None else f'{worst:.2f}'} |")
    if wrong := [cell for cell in tried if cell.outcome == "wrong"]:
        lines += ["", "Wrong:", "", *(f"- {cell.condition}, {cell.model}, {cell.setting}: {cell.reason}" for cell in wrong)]
    left = sorted({(cell.condition, cell.model, cell.reason) for cell in cells if cell.outcome == "left out"})
    reasons: dict[tuple[str, str], list[str]] = defaultdict(list)
    for condition, model, reason in left:
        reasons[condition, reason].append(model)
    if reasons:
        words = (f"- {condition}, {', '.join(models)}: {reason}" for (condition, reason), models in reasons.items())
        lines += ["", "Left out:", "", *words]
    return "\n".join(lines) + "\n"
