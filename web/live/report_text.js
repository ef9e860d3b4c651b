/** ToCa Report: its text, above its picture, to read and to copy. */
import { addPanel, refit, saveHeightWithout } from "../graph.js";
import { t } from "../words.js";
import { showOutput } from "./outputs.js";

const WIDTH = 330, HEIGHT = 132, HIGHEST = 260, MARGIN = 6;
const CSS = `
.toca-report { margin: 0; height: ${HEIGHT - 2 * MARGIN}px; box-sizing: border-box; padding: 4px 6px; overflow: auto; user-select: text; white-space: pre-wrap;
    font: 13px/17px sans-serif; color: var(--input-text, #ddd); background: var(--comfy-input-bg, #222); border-radius: 4px; }
`;

export const reportText = {
    setup() {
        document.head.append(Object.assign(document.createElement("style"), { textContent: CSS }));
    },

    nodeCreated(node) {
        if (node.comfyClass !== "ToCaReport") return;
        const text = Object.assign(document.createElement("pre"), { className: "toca-report", textContent: t("report.quiet") });
        text.dataset.captureWheel = "true";
        let high = HEIGHT;
        const height = () => high;
        addPanel(node, "panel.report", text, { margin: MARGIN, getMinHeight: height, getMaxHeight: height });
        saveHeightWithout(node, () => (window.LiteGraph.vueNodesMode ? 0 : high - HEIGHT));        // Vue lays it out by itself
        node.setSize([Math.max(WIDTH, node.size[0]), node.computeSize()[1]]);            // or its title would be cut
        showOutput(node, (output) => refit(node, () => {
            text.textContent = output ? output.text?.join("\n") ?? "" : t("report.quiet");
            text.style.height = "0";                                                     // or the text would be as high as its box
            high = Math.min(Math.max(HEIGHT, text.scrollHeight + 2 * MARGIN), HIGHEST);
            text.style.height = `${high - 2 * MARGIN}px`;
        }));
    },
};
