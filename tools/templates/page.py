"""The page of the templates that were run (docs/templates.md)."""

from collections import defaultdict

from tools.templates.trial import Row

HEAD = """# ComfyUI's own templates with ToCa Cache in them

`python run.py templates{options}`, ComfyUI {host}, {date}.

Every workflow template that comes with ComfyUI and samples with a local diffusion model is read by the real front end and run by the real
server, with a ToCa Cache before every sampler's model. In place of the files that a template names there are tiny models of the same
classes, made by the host's own code. Sizes are cut down, and what comes after the samplers is left out. Nodes for whose model there is no
stand-in (ControlNets, upscalers, ...) are passed by; those graphs count all the same.

| | templates |
|---|---|
| in the package | {templates} |
| with a local diffusion model that samples | {local} |
| of those, with a tiny model of its class | {tiny} |
| that run without ToCa Cache, so that it can be tried | {fits} |
| accepted by ToCa Cache | {accepted} |
| run to their end with it | {ran} |

"""


def page(rows: list[Row], templates: int, options: str, host: str, date: str) -> str:
    tried = [row for row in rows if row.fits]
    accepted, ran = (sum(bool(getattr(row, what)) for row in tried) for what in ("accepted", "ran"))
    text = HEAD.format(options=options, host=host, date=date, templates=templates, local=len(rows), fits=len(tried),
                       tiny=sum(bool(row.classes) for row in rows), accepted=accepted, ran=ran)
    lines = ["| class | templates | accepted | run | levels |", "|---|---|---|---|---|"]
    by_class: dict[str, list[Row]] = defaultdict(list)
    for row in tried:
        for name in dict.fromkeys(row.classes):
            by_class[name].append(row)
    for name, members in sorted(by_class.items(), key=lambda item: (-len(item[1]), item[0])):
        levels = ", ".join(sorted({level for row in members for level in row.levels}))
        accepted, ran = (sum(bool(getattr(row, what)) for row in members) for what in ("accepted", "ran"))
        lines.append(f"| `{name}` | {len(members)} | {accepted} | {ran} | {levels} |")
    left = [f"- {row.template}: {row.misfit or row.reason or 'its sampler is muted or bypassed'}"[:240]
            for row in rows if not (row.fits and row.ran)]
    return text + "\n".join(lines) + "\n" + ("\nNot run to their end:\n\n" + "\n".join(left) + "\n" if left else "")
