"""The pages of docs/ that the code writes: settings.md from the nodes' schemas, and models.md, as far as no model is tried for it.

    python run.py docs [--check]
"""

import argparse
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT))

LISTED = 20     # options of a combo box that a table has room for
HEAD = """# Settings

Every node and every input, as their schemas have them. `python run.py docs` writes this page. What to choose: [guide](guide.md). Each
node's own help page, with its outputs and what its refusals mean, is in [web/docs](../web/docs).

\\* stands for an advanced input.

"""


def described(spec) -> dict[str, str]:
    """An input's specification, as the host gives it, in words: type, default and range."""
    kind, options = spec[0], spec[1] if len(spec) > 1 else {}
    choices = kind if isinstance(kind, list) else options.get("options")
    default = options.get("default")
    if choices is not None:
        return {"type": "COMBO", "default": default or "", "range": ", ".join(choices) if "default" in options else "files"}
    limits = f"{options['min']:g} to {options['max']:g}" if "min" in options else ""
    return {"type": kind, "default": as_text(default), "range": limits}


def as_text(default) -> str:
    if isinstance(default, bool):
        return "on" if default else "off"
    if default is None:
        return ""
    return "empty" if default == "" else format(default, "" if isinstance(default, str) else "g")


def schemas() -> dict[str, dict]:
    """The nodes as the host describes them to its front end, by id; those too that show only beside another pack."""
    from tools.pack import load_host, pack_module
    load_host()
    import folder_paths
    with tempfile.TemporaryDirectory() as empty:
        folder_paths.set_user_directory(empty)          # whoever writes the page may have saved presets
        extension = pack_module("nodes.extension")
        nodes = *extension.NODES, *extension.BESIDE_RAYLIGHT
        return {node.define_schema().node_id: node.GET_NODE_INFO_V1() for node in nodes}


def settings_page(nodes: dict[str, dict]) -> str:
    index = ["| node | what for |", "|---|---|"]
    index += [f"| [{info['display_name']}](#{anchor(info['display_name'])}) | {one_line(info['description'])} |" for info in nodes.values()]
    return HEAD + "\n".join(index) + "\n" + "".join(section(name, info) for name, info in nodes.items())


def section(name: str, info: dict) -> str:
    lines = [f"\n## {info['display_name']}\n", f"Help page: [{name}.md](../web/docs/{name}.md)\n",
             "| input | type | default | range | meaning |", "|---|---|---|---|---|"]
    for key, spec in {**info["input"].get("required", {}), **info["input"].get("optional", {})}.items():
        words, options = described(spec), spec[1] if len(spec) > 1 else {}
        star = " \\*" if options.get("advanced") else ""
        lines.append(f"| `{key}`{star} | {words['type']} | {words['default']} | {range_of(words['range'], options)} | "
                     f"{one_line(options.get('tooltip', ''))} |")
    return "\n".join(lines) + "\n"


def range_of(words: str, options: dict) -> str:
    """Of a list that is too long for a table, and differs from host to host, no more than whose it is."""
    return words if len(options.get("options") or ()) <= LISTED or words == "files" else "those of ComfyUI"


def one_line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def anchor(title: str) -> str:
    """The name by which GitHub links to a heading."""
    kept = "".join(letter for letter in title.lower() if letter.isalnum() or letter in " -_")
    return kept.replace(" ", "-")


def pages() -> dict[Path, str]:
    """Every page that this writes, as it has to be."""
    from tools import models_page
    settings, models = ROOT / "docs" / "settings.md", ROOT / "docs" / "models.md"
    nodes, before = schemas(), models.read_text(encoding="utf-8")
    return {settings: settings_page(nodes), models: models_page.page(before, {})}


def stale() -> list[Path]:
    return [path for path, text in pages().items() if not path.is_file() or path.read_text(encoding="utf-8") != text]


def main():
    parser = argparse.ArgumentParser(prog="run.py docs", description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; the exit code is 1 where a page is not current")
    check = parser.parse_args().check
    for path, text in pages().items() if not check else ():
        path.write_text(text, encoding="utf-8")
        print(f"Written: {path.relative_to(ROOT).as_posix()}")
    if left := stale():
        sys.exit("Not current, python run.py docs writes them: " + ", ".join(path.relative_to(ROOT).as_posix() for path in left))


if __name__ == "__main__":
    main()
