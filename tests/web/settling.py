"""In place of waits of so many seconds: a slow machine needs more, and a fast one less."""

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
