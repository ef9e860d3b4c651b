"""Where the templates come from: the host's own package, or a folder of workflow files."""

import importlib.util
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PACKAGE = "comfyui_workflow_templates_json"


class NoTemplates(RuntimeError):
    """There is nothing to run; the message says why."""


@dataclass(frozen=True)
class Template:
    """A workflow as the front end saves it."""

    name: str
    workflow: dict[str, Any]

    def node_types(self) -> set[str]:
        """Of all its nodes, those in subgraphs among them."""
        subgraphs = (self.workflow.get("definitions") or {}).get("subgraphs") or []
        return {node["type"] for graph in (self.workflow, *subgraphs) for node in graph["nodes"]}


def package_folder() -> Path:
    """Where the host's Python has the package of templates."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise NoTemplates(f"The host's Python has no package {PACKAGE}: give a folder of workflows.")
    return Path(found.submodule_search_locations[0]) / "templates"


def read(folder: Path, only: Iterable[str] = ()) -> list[Template]:
    """The workflows in a folder, by name; files that are no workflows, as the package's indexes are, are passed over."""
    wanted, found = set(only), []
    for file in sorted(folder.glob("*.json")):
        content = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(content, dict) and "nodes" in content and (not wanted or file.stem in wanted):
            found.append(Template(file.stem, content))
    if missing := wanted - {template.name for template in found}:
        raise NoTemplates(f"There is no template {', '.join(sorted(missing))} in {folder}.")
    if not found:
        raise NoTemplates(f"There are no workflows in {folder}.")
    return found
