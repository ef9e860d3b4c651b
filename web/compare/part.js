/** ToCa Compare: the baseline and the accelerated pictures behind one slider. */
import { api } from "../../../scripts/api.js";
import { addPanel, chain } from "../graph.js";
import { showOutput } from "../live/outputs.js";
import { compareView } from "./view.js";

const NODE = "ToCaCompare";
const SIZE = [360, 480];
const VIEW_HEIGHT = 220;

export const compare = {
    nodeCreated(node) {
        if (node.comfyClass !== NODE) return;
        const view = compareView(() => node.inputs.slice(0, 2).map((input) => input.label ?? input.localized_name ?? input.name));
        addPanel(node, "panel.compare", view.element, { getMinHeight: () => VIEW_HEIGHT });
        node.setSize(node.size.map((length, axis) => Math.max(length, SIZE[axis])));
        showOutput(node, (output) => view.show(pairs(output ?? {})));
        chain(node, "onRemoved", view.remove);
    },
};

/** What the node sent -> [{before, after, picture, psnr, ssim}], the pictures as addresses. */
function pairs({ a_images = [], b_images = [], figures = [] }) {
    const address = (image) => api.apiURL(`/view?${new URLSearchParams(image)}`);
    return figures.map((figure, index) => ({ before: address(a_images[index]), after: address(b_images[index]), ...figure }));
}
