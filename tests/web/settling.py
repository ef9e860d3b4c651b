"""In place of waits of so many seconds: a slow machine needs more, and a fast one less."""

import time

# Until nothing of the view, the nodes and what the pack shows has changed for longer than a question to the server is put off.
STILL = """async () => {
    const shown = () => JSON.stringify([app.canvas.ds, app.canvas.graph.nodes.map(({ pos, size }) => [...pos, ...size]),
        [...document.querySelectorAll("[data-node-id], .toca-live, .toca-ratios, .toca-compare")].map((part) =>
            [part.innerText, part.getBoundingClientRect()])]);
    for (let before, same = 0, frames = 0; same < 8 && frames < 600; frames++) {
        await new Promise((resolve) => requestAnimationFrame(resolve));
        const now = shown();
        same = now === before ? same + 1 : 0;
        before = now;
    }
}"""


def settle(page):
    """Wait until the page shows what it will, also once the server has answered the pack's questions."""
    page.evaluate(STILL)
    while page.asked:
        page.wait_for_timeout(20)
        if not page.asked:
            page.evaluate(STILL)


def until(page, question, seconds=60):
    """Wait for a promise of the page to come true, which the browser's own wait takes for true as soon as it is made."""
    end = time.monotonic() + seconds
    while not page.evaluate(question):
        assert time.monotonic() < end, f"Not true after {seconds} s: {question}"
        page.wait_for_timeout(100)
