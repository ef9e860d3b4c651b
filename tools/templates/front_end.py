"""Workflows as the front end saves them, turned by that front end itself into the prompts that it would queue."""

import hashlib
import json
import os
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tools.browser import chromium, launched, open_front_end
from tools.server import FRONT_END
from tools.templates.sources import NoTemplates, Template

SETTINGS = {"Comfy.VueNodes.Enabled": False, "Comfy.Workflow.ShowMissingModelsWarning": False,
            "Comfy.Workflow.ShowMissingNodesWarning": False}
CONVERT = """async (workflow) => {
    await app.loadGraphData(workflow, true, false, null, { showMissingNodesDialog: false, showMissingModelsDialog: false });
    return (await app.graphToPrompt()).output;
}"""
VIEWPORT = {"width": 320, "height": 240}        # what is not shown is not drawn


class FrontEnd:
    """The front end of a running server; its browser is started with the first workflow that is not yet known.

    Converted prompts are kept in the machine's folder for temporary files, for as long as the host's nodes are the same.
    """

    def __init__(self, url: str, info: dict[str, Any]):
        self.url = url
        nodes = {name: node["input"] for name, node in info.items() if not node["python_module"].startswith("custom_nodes.")}
        page = os.environ.get(FRONT_END) or version("comfyui-frontend-package")
        self.kept = Path(tempfile.gettempdir()) / "toca-templates" / digest([page, nodes])
        self.kept.mkdir(parents=True, exist_ok=True)
        self._browser = self._page = None

    def __enter__(self) -> "FrontEnd":
        return self

    def __exit__(self, *error) -> None:
        if self._browser is not None:
            self._browser.__exit__(*error)

    def prompt(self, template: Template) -> dict[str, Any]:
        """{node id: {class_type, inputs}}: subgraphs, reroutes, bypassed and muted nodes and primitives are resolved."""
        file = self.kept / f"{digest(template.workflow)}.json"
        if not file.is_file():
            file.write_text(json.dumps(self.page.evaluate(CONVERT, template.workflow)), encoding="utf-8")
        return json.loads(file.read_text(encoding="utf-8"))

    @property
    def page(self):
        if self._page is None:
            if chromium() is None:
                raise NoTemplates("There is no Chromium on this machine to turn the workflows into prompts.")
            self._browser = launched(chromium())
            self._page = self._browser.__enter__().new_page(viewport=VIEWPORT)
            open_front_end(self._page, self.url, **SETTINGS)
        return self._page


def digest(content: Any) -> str:
    """A name for what can be written as JSON."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]
