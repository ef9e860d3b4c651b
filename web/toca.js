/**
 * The pack's one front-end extension. A part takes care of the nodes that it knows:
 * setup() once, nodeCreated(node) for every node of the graph, loaded() after a workflow was opened.
 */
import { app } from "../../scripts/app.js";
import { cache } from "./cache/part.js";
import { calibrate } from "./calibrate/part.js";
import { compare } from "./compare/part.js";
import { keepHeightOnLoad, remount } from "./graph.js";
import { outputs } from "./live/outputs.js";
import { live } from "./live/part.js";
import { reportText } from "./live/report_text.js";
import { ratios } from "./ratios/part.js";
import { orderTemplates } from "./templates.js";
import { learnWords } from "./words.js";

const PARTS = [calibrate, compare, cache, live, ratios, reportText];         // in the order in which what they add stands on a node

app.registerExtension({
    name: "ToCa",
    init() {
        orderTemplates();
        return learnWords();
    },
    setup() {
        for (const part of PARTS) part.setup?.();
    },
    nodeCreated(node) {
        for (const part of PARTS) part.nodeCreated?.(node);
        if (node.comfyClass?.startsWith("ToCa")) keepHeightOnLoad(node);
    },
    /** The host says which workflow is open, and draws it, a little after it has opened it. */
    afterConfigureGraph() {
        for (const wait of [0, 50, 100, 200, 400, 800, 2000]) setTimeout(() => {
            if (window.LiteGraph.vueNodesMode) remount();
            for (const part of PARTS) part.loaded?.();
        }, wait);
    },
    onNodeOutputsUpdated() {
        outputs.dispatchEvent(new Event("updated"));
    },
});
