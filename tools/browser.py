"""A headless Chromium on the front end of a running server, through Playwright."""

import shutil
from contextlib import contextmanager
from pathlib import Path

CHROMIUM = ("/usr/bin/chromium", "chromium", "chromium-browser", "google-chrome")
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")
READY = """window.app?.graph && window.app.extensionManager?.setting && 'ToCaCache' in window.LiteGraph.registered_node_types
    && window.app.extensionManager.workflow?.activeWorkflow"""           # the graph that it begins with is there, and replaces no other

RUN = """async (timeout) => {
    const ended = new Promise((resolve, reject) => {
        setTimeout(() => reject(new Error("the run did not end")), timeout);
        app.api.addEventListener("execution_success", () => resolve());
        for (const type of ["execution_error", "execution_interrupted"])
            app.api.addEventListener(type, (event) => reject(new Error(JSON.stringify(event.detail))));
    });
    const reports = [];
    app.api.addEventListener("toca.report", (event) => reports.push(event.detail));
    if (await app.queuePrompt(0, 1) === false) throw new Error("the prompt was refused");
    await ended;
    return { outputs: app.nodeOutputs, reports };
}"""


def chromium() -> str | None:
    """Where this machine's Chromium is, or None."""
    return next(filter(None, map(shutil.which, CHROMIUM)), None)


@contextmanager
def launched(path: str | Path):
    """A browser; its pages are closed with it."""
    from playwright.sync_api import sync_playwright
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser
        browser.close()


def open_front_end(page, url: str, **settings):
    """Show a server's front end in a page, with these settings of the host, once its nodes are known."""
    # A user who is not new is spared the template browser.
    page.request.post(f"{url}/settings", data={"Comfy.TutorialCompleted": True, **settings})
    page.goto(url)
    page.wait_for_function(READY, timeout=180_000)
