"""A headless Chromium on the real front end."""

import pytest

from tools.browser import RUN, chromium, launched, open_front_end
from tools.server import PROJECT

RENDERERS = {"canvas": False, "vue": True}


@pytest.fixture(scope="module")
def browser():
    """Module by module, because Playwright keeps an event loop running as long as it lives."""
    pytest.importorskip("playwright.sync_api", reason="the package playwright is not installed")
    if chromium() is None:
        pytest.skip("no Chromium on this machine")
    with launched(chromium()) as browser:
        yield browser


@pytest.fixture
def open_page(browser, server):
    """open_page("canvas" or "vue", **settings of the host) -> the front end with that renderer.

    page.complaints: what its console said about this pack, and every uncaught error.
    """
    pages = []

    def open_page(renderer, **settings):
        page = browser.new_page(viewport={"width": 2200, "height": 1200})
        pages.append(page)
        page.complaints = []
        page.on("console", lambda message: page.complaints.append(message.text) if is_complaint_of_ours(message) else None)
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        open_front_end(page, server.url, **{"Comfy.VueNodes.Enabled": RENDERERS[renderer], "Comfy.Locale": "en", **settings})
        return page

    yield open_page
    for page in pages:
        page.close()


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
