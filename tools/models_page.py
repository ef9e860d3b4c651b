"""The page of the models that are cached (docs/models.md): the table of the entries, and what `run.py models` found."""

from tools.models import ModelRow, counts

BEGIN, END = "<!-- {} -->", "<!-- /{} -->"
HEAD = """# Models

Every diffusion model is taken. At which levels a model can be cached depends on what is known of it:

- **module**: each attention and MLP is known. ToCa's own token-wise caching works, with ratios, scores and masks.
- **stack**: the blocks are known. One residual per token stands for all of them.
- **output**: what the model predicts is forecast. This works with every model: with UNets too, and where a model has no entry and its
  blocks cannot be found in its first call.
- **plain**: no step may be skipped. The report says why.

A mask can have its **tokens** computed at every step, or only say where **errors** count ([masks](guide.md#masks)).

Preset `auto` takes `output`, and `stack` where a mask's tokens are to be computed. The report of a run says which. What the levels are:
[guide](guide.md#levels). How an entry is written: [adding a model](adding-a-model.md). Files and settings of the paper's own systems:
[systems](systems.md).

"""

EXPLAINED = """
## What was tried

Each model is tried with random weights. What has to hold:

- A tolerance of 0 (at level module a `fresh_ratio` of 1 and a `cycle` of 1) gives the plain run, bit for bit.
- A large tolerance skips steps.
- A second run gives the same again.
- Nothing is left on the model.

The same has to hold with batches of two, odd sizes, no guidance, texts of two lengths and a reference picture, where a class takes them.
Random weights say nothing of quality. FLOPs are counted from shapes; where a model's blocks are not known, every call counts as one.

"""


def table() -> str:
    """Of the entries, in Markdown; sorted by what people read."""
    from tools.pack import pack_module
    lines = ["| models | class | levels | masks | load with | remarks |", "|---|---|---|---|---|---|"]
    for system in sorted(pack_module("nodes.systems").SYSTEMS.values(), key=lambda system: system.words.lower()):
        kinds = ", ".join(f"`{name.rpartition('.')[2]}`" for name in system.classes)
        levels = ", ".join(system.levels) or "plain"
        masks = "tokens" if system.layout and system.layout.refreshes else "errors" if system.levels else ""
        lines.append(f"| {system.words} | {kinds} | {levels} | {masks} | {system.loader} | {system.plain or system.notes} |")
    return "\n".join(lines) + "\n"


def results(rows: list[ModelRow], host: str) -> str:
    """What the matrix found, in Markdown."""
    found, here = counts(rows), [row for row in rows if not row.absent]
    lines = [f"ComfyUI {host}: {found['models']} tiny models of {found['classes']} classes, made by the host's own code with random "
             f"weights; {found['right']} of them are right in every respect. {found['stack']} of the classes can be cached at level stack, "
             f"{found['output']} at level output alone; {found['plain']} are run plainly. (`python run.py models --host {host}`)", ""]
    if absent := [row for row in rows if row.absent]:
        lines += ["Not in this version: " + ", ".join(f"{row.name}" for row in absent) + ".", ""]
    lines += ["| model | class | whole steps at | steps skipped of 8, FLOPs saved at each level | also tried |", "|---|---|---|---|---|"]
    for row in here:
        levels = "; ".join(f"{level.level} {level.pattern.count('p')}, {level.flops_speedup:.2f}x" for level in row.levels)
        wrong = [*row.wrong, *(f"{level.level}: {', '.join(level.wrong)}" for level in row.levels if level.wrong)]
        tried = ", ".join(row.tried) + (f" **{'; '.join(wrong)}**" if wrong else "")
        lines.append(f"| {row.name} | `{row.of.rpartition('.')[2]}` | {row.whole} | {levels} | {tried} |")
    return "\n".join(lines) + "\n"


def between(name: str, text: str) -> str:
    return f"{BEGIN.format(name)}\n{text}{END.format(name)}\n"


def part(page: str, name: str) -> str | None:
    """What stands between the marks of a name."""
    begin, end = BEGIN.format(name) + "\n", END.format(name)
    return page.partition(begin)[2].partition(end)[0] if begin in page and end in page else None


def page(before: str, new: dict[str, list[ModelRow]]) -> str:
    """The whole page; new: what was found, by version of the host. What it said of other versions stays."""
    marked = {line.removeprefix("<!-- ").removesuffix(" -->") for line in before.splitlines() if line.startswith("<!-- ")}
    found = {name: part(before, name) or "" for name in marked if name[:1].isdigit()}
    found |= {host: results(rows, host) for host, rows in new.items()}
    return HEAD + between("entries", table()) + EXPLAINED + "\n".join(between(host, found[host]) for host in sorted(found, reverse=True))
