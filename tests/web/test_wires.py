"""Every workflow can be read at a glance: no wire runs behind a node that it has nothing to do with."""

from tests.web.test_workflows import WORKFLOWS, load

# Of every link the nodes that more than a little of its line lies behind, as Vue lays them out.
BEHIND = """() => {
    const { scale, offset } = app.canvas.ds, canvas = app.canvas.canvas.getBoundingClientRect(), behind = [];
    const boxes = [...document.querySelectorAll("[data-node-id].lg-node")].map((element) => {
        const box = element.getBoundingClientRect();
        return [element.dataset.nodeId, (box.left - canvas.left) / scale - offset[0], (box.top - canvas.top) / scale - offset[1],
            box.width / scale, box.height / scale];
    });
    for (const link of app.graph.links.values()) {
        const [from, to] = [app.graph.getNodeById(link.origin_id), app.graph.getNodeById(link.target_id)];
        const [start, end] = [from.getOutputPos(link.origin_slot), to.getInputPos(link.target_slot)];
        const bend = Math.hypot(end[0] - start[0], end[1] - start[1]) / 4;
        const along = (t, axis) => (1 - t) ** 3 * start[axis] + 3 * (1 - t) ** 2 * t * (start[axis] + (axis ? 0 : bend))
            + 3 * (1 - t) * t * t * (end[axis] - (axis ? 0 : bend)) + t ** 3 * end[axis];
        for (const [id, x, y, width, height] of boxes) {
            const hidden = Array.from({ length: 97 }, (_, step) => 0.02 + step / 100).filter((t) =>
                along(t, 0) > x + 3 && along(t, 0) < x + width - 3 && along(t, 1) > y + 3 && along(t, 1) < y + height - 3);
            if (hidden.length > 3) behind.push(`${from.title} -> ${to.title} behind ${app.graph.getNodeById(id).title}`);
        }
    }
    return behind;
}"""


def test_no_wire_runs_behind_a_node(open_page):
    page = open_page("vue")
    for name in WORKFLOWS:
        load(page, name)
        page.evaluate("() => app.extensionManager.command.execute('Comfy.Canvas.FitView')")
        page.wait_for_timeout(900)
        assert page.evaluate(BEHIND) == [], name
