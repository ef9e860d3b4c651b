"""A headless Chromium on the real front end: one browser, and in it a page for each renderer and language, which tests take turns with."""

from contextlib import ExitStack
from pathlib import Path

import pytest
from PIL import Image

from tools.browser import RUN, chromium, launched, open_front_end
from tools.server import PROJECT

RENDERERS = {"canvas": False, "vue": True}
PICTURES = ("example.png", "other.png")                 # the first one comes with the host

# An empty graph in a workflow of its own, and nothing left of what a test has put in the page: tests give their listeners the signal
# `testing`, and what they lay over the front end's functions are properties of the object that has them from its class.
RESET = """async () => {
    window.testing?.abort();
    window.testing = new AbortController();
    delete app.api.addEventListener;
    delete app.api.removeEventListener;
    if (app.rootGraph) app.canvas.setGraph(app.rootGraph);      // out of a subgraph
    await app.loadGraphData({ version: 0.4, last_node_id: 0, last_link_id: 0, nodes: [], links: [], groups: [], config: {}, extra: {} });
    app.canvas.ds.scale = 1;
    app.canvas.ds.offset = [0, 0];
    document.activeElement?.blur();
    return [(app.rootGraph ?? app.graph).nodes.length, document.querySelectorAll("[role=dialog]").length];
}"""

# A page that waits for its turn draws no frame, which would cost a tenth of a core; those asked for come when it is back.
ASIDE = """() => {
    if (window.comeBack) return;
    const waiting = [], ask = window.requestAnimationFrame;
    window.requestAnimationFrame = (frame) => waiting.push(frame);
    window.comeBack = () => {
        window.requestAnimationFrame = ask;
        delete window.comeBack;
        for (const frame of waiting) ask(frame);
    };
}"""
BACK = "() => window.comeBack?.()"


class Pages:
    """The browser and its pages, from the first test that wants one to the folder's last."""

    def __init__(self):
        self.open = ExitStack()
        self.close()

    def close(self):
        self.open.close()
        self.browser, self.kept = None, {}

    def new(self, server, renderer, **settings):
        if self.browser is None:
            self.browser = self.open.enter_context(launched(chromium()))
        page = self.browser.new_page(viewport={"width": 2200, "height": 1200})
        page.complaints, page.asked = [], set()
        page.on("request", lambda request: page.asked.add(request) if "/toca/" in request.url else None)
        for ended in ("requestfinished", "requestfailed"):
            page.on(ended, lambda request: page.asked.discard(request))
        page.on("console", lambda message: page.complaints.append(message.text) if is_complaint_of_ours(message) else None)
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        open_front_end(page, server.url, **{"Comfy.VueNodes.Enabled": RENDERERS[renderer], "Comfy.Locale": "en", **settings})
        return page

    def shared(self, server, renderer, **settings):
        """The page of the renderer and the settings, empty."""
        key = (renderer, *sorted(settings.items()))
        for other in self.kept:
            self.kept[other].evaluate(BACK if other == key else ASIDE)
        page = self.kept.get(key)
        if page is None or page.evaluate(RESET) != [0, 0]:
            if page:
                page.close()
            page = self.kept[key] = self.new(server, renderer, **settings)
            page.evaluate(RESET)
        page.mouse.move(0, 0)
        page.complaints.clear()
        return page


PAGES = Pages()


@pytest.hookimpl(trylast=True)      # after the test's own pages are closed
def pytest_runtest_teardown(nextitem):
    """The browser ends with the folder, because Playwright keeps an event loop running as long as it lives."""
    if nextitem is None or Path(__file__).parent not in nextitem.path.parents:
        PAGES.close()


@pytest.fixture(scope="module")
def fresh_pages():
    """For a file that brings models or pictures: a page knows those that were there when it was opened."""
    PAGES.close()


@pytest.fixture(scope="module")
def pictures(server):
    """What the workflows load, in the server's input folder."""
    files = [server.folder / "input" / name for name in PICTURES]
    for file, colour in zip(files, ("orange", "navy"), strict=True):
        Image.new("RGB", (96, 80), colour).save(file)
    yield
    for file in files:
        file.unlink()


@pytest.fixture
def open_page(request, server):
    """open_page("canvas" or "vue", **settings of the host) -> the front end with that renderer; `own`, in a page of the test's own.

    page.complaints: what its console said about this pack, and every uncaught error. page.asked: what it asks our routes just now.
    """
    pytest.importorskip("playwright.sync_api", reason="the package playwright is not installed")
    if chromium() is None:
        pytest.skip("no Chromium on this machine")
    opened, failed = [], request.session.testsfailed

    def open_page(renderer, own=False, **settings):
        if not own:
            return PAGES.shared(server, renderer, **settings)
        opened.append(PAGES.new(server, renderer, **settings))
        return opened[-1]

    yield open_page
    for page in opened:
        page.close()
    if request.session.testsfailed > failed:
        PAGES.close()                   # what a test that failed has left, the next one is not to meet


@pytest.fixture
def run_graph():
    """run_graph(page) queues the graph of a page and waits for its end -> {outputs by node, reports of ToCa Cache}."""
    return lambda page: page.evaluate(RUN, 300_000)


@pytest.fixture
def page(open_page):
    return open_page("canvas")


def is_complaint_of_ours(message) -> bool:
    """Whether a console message is an error or a warning that has to do with this pack; the host has some of its own."""
    ours = ("toca", f"/extensions/{PROJECT.name}/")
    return message.type in ("error", "warning") and any(word in f"{message.text} {message.location['url']}".lower() for word in ours)
