"""Pictures of every node of this pack, as its help page shows them: in the host's dark and light theme, and the dark one
in Chinese too.

    python run.py screenshots [--out DIR] [--only NODE ...]

A node is shown as it stands in a workflow of the pack, in a demo after a run, with what it then has to show; one that is in none stands by
itself. Wants Chromium.
"""

import argparse
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent))        # last, or the project's nodes/ would hide the host's nodes.py
from PIL import Image

from tools.browser import RUN, chromium, launched, open_front_end
from tools.server import PROJECT, ComfyServer, ServerError

DOCS = PROJECT / "web" / "docs"     # what lies below it the host serves beside the help pages
THEMES = {"en": ("dark", "light"), "zh": ("dark",)}             # by language; those of others than English are in a folder of its name
SETTINGS = {"Comfy.VueNodes.Enabled": False, "Comfy.LinkRenderMode": -1,      # links are hidden
            "Comfy.NodeBadge.NodeSourceBadgeMode": "None"}
VIEWPORT, CORNER, MARGIN = {"width": 1400, "height": 1600}, (420, 160), 6
SCALE = 2                           # device pixels per pixel
LARGEST = 60_000                    # bytes of a picture; what is larger gets a palette
DEMO_MODEL = "shapes_dit.safetensors"
MODELS = ("diffusion_models", "text_encoders", "vae")
LONGEST = 900_000                   # ms that a demo may take
SETTLE = 1200                       # ms for widgets to be laid out and painted

ADD = """async (type) => {
    await app.loadGraphData({ version: 0.4, nodes: [], links: [] });
    app.graph.add(LiteGraph.createNode(type));
}"""
# The node's corner comes to CORNER; the answer is where it then is on the page: x, y, width, height.
PLACE = """([type, [left, top]]) => {
    const { canvas } = app, node = app.graph.nodes.find((node) => node.type === type), box = canvas.canvas.getBoundingClientRect();
    canvas.deselectAll();
    const [x, y, width, height] = node.boundingRect;
    canvas.ds.scale = 1;
    canvas.ds.offset = [left - box.left - x, top - box.top - y];
    canvas.setDirty(true, true);
    return [left, top, width, height];
}"""
# Another seed, or a run in a second language would come from the server's cache, and the panel say so.
NEXT_SEED = """(by) => {
    for (const { type, widgets } of app.graph.nodes) if (type === "KSampler") widgets.find(({ name }) => name === "seed").value += by;
}"""
THEME = "(theme) => app.extensionManager.setting.set('Comfy.ColorPalette', theme)"


def shown_in() -> dict[str, Path]:
    """The workflow that shows a node: {node: file}, of several a demo where there is one, and the first by name."""
    found = {}
    for file in sorted((PROJECT / "workflows").glob("*.json"), key=lambda file: (not file.stem.startswith("demo_"), file.stem)):
        for node in json.loads(file.read_text(encoding="utf-8"))["nodes"]:
            found.setdefault(node["type"], file)
    return found


def stand_in(folder: Path):
    """An empty file for every model that a workflow names, or the host would outline its loader in red."""
    texts = [file.read_text(encoding="utf-8") for file in (PROJECT / "workflows").glob("*.json")]
    for kind in MODELS:
        (folder / kind).mkdir(exist_ok=True)
        for name in {name for text in texts for name in re.findall(r'"([^"/]+\.(?:safetensors|pth?))"', text)} - {DEMO_MODEL}:
            (folder / kind / name).touch()


def show(page, node: str, file: Path | None, language: str):
    """Bring a node onto the page, after a run if a demo shows it."""
    if file is None:
        page.evaluate(ADD, node)
        return
    page.evaluate("(workflow) => app.loadGraphData(workflow)", json.loads(file.read_text(encoding="utf-8")))
    page.evaluate(NEXT_SEED, list(THEMES).index(language))
    page.wait_for_timeout(SETTLE)
    if file.stem.startswith("demo_"):
        page.evaluate(RUN, LONGEST)


def take(page, node: str, theme: str) -> bytes:
    """The PNG of a node in a theme."""
    page.evaluate(THEME, theme)
    page.evaluate(PLACE, [node, CORNER])
    page.wait_for_timeout(SETTLE)
    x, y, width, height = page.evaluate(PLACE, [node, CORNER])          # again: a node may have grown with what it shows
    page.wait_for_timeout(SETTLE)
    clip = {"x": x - MARGIN, "y": y - MARGIN, "width": width + 2 * MARGIN, "height": height + 2 * MARGIN}
    return smaller(page.screenshot(clip=clip))


def smaller(png: bytes) -> bytes:
    """The same picture, with a palette if it is large."""
    if len(png) <= LARGEST:
        return png
    file = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").quantize(method=Image.Quantize.FASTOCTREE, kmeans=1).save(file, "PNG", optimize=True)
    return file.getvalue()


def has_font(language: str) -> bool:
    """Whether this machine can write a language, as far as it tells."""
    listed = subprocess.run(["fc-list", f":lang={language}"], capture_output=True, check=False) if shutil.which("fc-list") else None
    if listed is None or listed.stdout.strip():
        return True
    print(f"No font here has the letters of {language}: its pictures are left as they are.", file=sys.stderr)
    return False


def take_all(server, browser, out: Path, only: list[str], language: str):
    files, opened = shown_in(), None
    page = browser.new_page(viewport=VIEWPORT, device_scale_factor=SCALE)
    open_front_end(page, server.url, **SETTINGS, **{"Comfy.Locale": language})
    out.mkdir(parents=True, exist_ok=True)
    for node in sorted(only or server.client().our_nodes(), key=lambda node: str(files.get(node))):
        file = files.get(node)
        if file is None or file != opened:
            show(page, node, file, language)
        opened = file
        for theme in THEMES[language]:
            path = out / f"{node}_{theme}.png"
            path.write_bytes(take(page, node, theme))
            print(f"{path}  {path.stat().st_size / 1e3:.0f} kB", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="run.py screenshots", description="Take the pictures of the nodes that the help pages show.")
    parser.add_argument("--out", type=Path, default=DOCS / "images", help="where they go (default web/docs/images)")
    parser.add_argument("--only", nargs="*", default=[], metavar="NODE", help="node ids (default: all)")
    given = parser.parse_args()
    if chromium() is None:
        print("No Chromium was found: install it, so that the command chromium starts it.", file=sys.stderr)
        return 1
    print("Starting ComfyUI ...", flush=True)
    try:
        with ComfyServer(beside=["raylight"]) as server, launched(chromium()) as browser:
            stand_in(server.folder / "models")
            for language in filter(has_font, THEMES):
                take_all(server, browser, given.out / ("" if language == "en" else language), given.only, language)
    except ServerError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
