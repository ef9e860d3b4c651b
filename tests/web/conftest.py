"""A headless Chromium on the real front end."""

import shutil

import pytest

from tools.server import PROJECT

CHROMIUM = ("/usr/bin/chromium", "chromium", "chromium-browser", "google-chrome")
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")
READY = "window.app?.graph && window.app.extensionManager?.setting && 'ToCaCache' in window.LiteGraph.registered_node_types"
RENDERERS = {"canvas": False, "vue": True}


@pytest.fixture(scope="module")
def browser():
    """Module by module, because Playwright keeps an event loop running as long as it lives."""
    playwright = pytest.importorskip("playwright.sync_api", reason="the package playwright is not installed")
    path = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if path is None:
        pytest.skip("no Chromium on this machine")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser, server):
    """open_page("canvas" or "vue") -> the front end with that renderer.

    page.complaints: what its console said about this pack, and every uncaught error.
    """
    pages = []

    def open_page(renderer):
        page = browser.new_page(viewport={"width": 2200, "height": 1200})
        pages.append(page)
        page.complaints = []
        page.on("console", lambda message: page.complaints.append(message.text) if is_complaint_of_ours(message) else None)
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        # A user who is not new is spared the template browser.
        settings = {"Comfy.TutorialCompleted": True, "Comfy.VueNodes.Enabled": RENDERERS[renderer]}
        page.request.post(f"{server.url}/settings", data=settings)
        page.goto(server.url)
        page.wait_for_function(READY, timeout=60_000)
        return page

    yield open_page
    for page in pages:
        page.close()


@pytest.fixture
def page(open_page):
    return open_page("canvas")


def is_complaint_of_ours(message) -> bool:
    """Whether a console message is an error or a warning that has to do with this pack; the host has some of its own."""
    ours = ("toca", f"/extensions/{PROJECT.name}/")
    return message.type in ("error", "warning") and any(word in f"{message.text} {message.location['url']}".lower() for word in ours)
