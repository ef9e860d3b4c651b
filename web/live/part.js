/** ToCa Cache: what it does, step by step, while the sampler runs. */
import { api } from "../../../scripts/api.js";
import { chain, listenWhileInGraph, nodeAt } from "../graph.js";
import { NOTHING, drawing, figures, remark, reported, stepped } from "./timeline.js";

const HEIGHT = 80, MARGIN = 6;             // of the widget, and around what it shows
const QUIET = "Shows each step while sampling.";

const CSS = `
.toca-live { display: flex; flex-direction: column; gap: 2px; height: ${HEIGHT - 2 * MARGIN}px; box-sizing: border-box; padding: 2px; overflow: hidden;
    font: 13px/16px sans-serif; color: var(--input-text, #ddd); }
.toca-live .plot { position: relative; flex: 1; min-height: 0; }
.toca-live svg { position: absolute; inset: 0; width: 100%; height: 100%; overflow: visible; }
.toca-live .ahead { fill: var(--input-text, #ddd); opacity: 0.35; }
.toca-live circle { fill: var(--input-text, #ddd); stroke: var(--comfy-input-bg, #222); stroke-width: 1.5px; }
.toca-live .words { white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
`;

export const live = {
    setup() {
        for (const type of ["toca.step", "toca.report"]) api.addEventListener(type, () => {});      // or the host warns where no ToCa Cache is
        document.head.append(Object.assign(document.createElement("style"), { textContent: CSS }));
    },

    nodeCreated(node) {
        if (node.comfyClass === "ToCaCache") attach(node);
    },
};

function attach(node) {
    const view = liveView();
    const options = { serialize: false, hideOnZoom: false, margin: MARGIN, getMinHeight: () => HEIGHT, getMaxHeight: () => HEIGHT };
    node.addDOMWidget("toca_live", "toca_live", view.root, options).serialize = false;

    let run = NOTHING;
    const isMine = ({ cache }) => nodeAt(node.graph?.rootGraph, cache) === node;
    const draw = () => { if (!node.flags?.collapsed) view.show(run); };
    const follow = (next) => ({ detail }) => {
        if (!isMine(detail)) return;
        run = next(detail);
        draw();
    };
    listenWhileInGraph(node, api, { "toca.step": follow((step) => stepped(run, step)), "toca.report": follow(reported) });
    const opened = new ResizeObserver(draw);                            // a node that is no longer collapsed shows what it missed
    opened.observe(view.root);
    chain(node, "onRemoved", () => opened.disconnect());
}

/** The panel's DOM; show(run) draws what has changed. */
function liveView() {
    const root = Object.assign(document.createElement("div"), { className: "toca-live" });
    const [plot, words, why] = ["plot", "words", "words"].map((className) => Object.assign(document.createElement("div"), { className }));
    root.append(plot, words, why);
    words.textContent = QUIET;
    let shown = NOTHING;
    const show = (run) => {
        if (run === shown) return;
        shown = run;
        plot.innerHTML = drawing(run);
        words.textContent = words.title = figures(run);
        why.textContent = why.title = remark(run);
    };
    return { root, show };
}
