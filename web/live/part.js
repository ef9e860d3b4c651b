/** ToCa Cache: what it does, step by step, while the sampler runs; and the button that shows its rare settings. */
import { api } from "../../../scripts/api.js";
import { chain, listenWhileInGraph, nodeAt, refit } from "../graph.js";
import { t } from "../words.js";
import { NOTHING, drawing, figures, remark, reported, stepped } from "./timeline.js";

const MARGIN = 6;                               // around what it shows
const PLOT = 34, LINE = 18, GAPS = 8;           // height of the bars, where there are any; of a line before it is laid out; between parts

const CSS = `
.toca-live { display: flex; flex-direction: column; gap: 2px; height: 100%; box-sizing: border-box; padding: 2px; overflow: hidden;
    font: 13px/16px sans-serif; color: var(--input-text, #ddd); }
.toca-live [hidden] { display: none; }
.toca-live .plot { position: relative; flex: 1 1 ${PLOT}px; min-height: ${PLOT}px; }
.toca-live svg { position: absolute; inset: 0; width: 100%; height: 100%; overflow: visible; }
.toca-live .ahead { fill: var(--input-text, #ddd); opacity: 0.35; }
.toca-live circle { fill: var(--input-text, #ddd); stroke: var(--comfy-input-bg, #222); stroke-width: 1.5px; }
.toca-live .buttons { display: flex; flex-wrap: wrap; gap: 4px; margin-bottom: 2px; }
.toca-live button { font: 12px/16px sans-serif; color: inherit; background: var(--comfy-input-bg, #222); cursor: pointer;
    border: 1px solid var(--border-color, #555); border-radius: 4px; padding: 1px 7px; }
.toca-live button:focus-visible { outline: 2px solid #0072B2; outline-offset: 1px; }
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
    const settings = node.tocaSettings;
    const options = { serialize: false, hideOnZoom: false, hideInPanel: true, margin: MARGIN, getMinHeight: () => view.height() + 2 * MARGIN };
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

    const offer = () => view.offer(settings.open ? t("more.hide") : settings.hidden() ? t("more.show") : "");
    settings.changed.add(offer);
    view.more.addEventListener("click", () => settings.toggle());
    offer();
    refit.exactly(node);

    const opened = new ResizeObserver(draw);                            // a node that is no longer collapsed shows what it missed
    opened.observe(view.root);
    const laid = whileHeightChanges(view, (by) => refit.by(node, by));
    chain(node, "onRemoved", () => { opened.disconnect(); laid.disconnect(); });
}

/** Tells by how much the text has become higher, since it is read at another width or says something else. */
function whileHeightChanges(view, tell) {
    let before = view.height();
    const observer = new ResizeObserver(() => {
        const now = view.height();
        if (now !== before && view.root.isConnected) tell(now - before);
        before = now;
    });
    for (const part of view.texts) observer.observe(part);
    return observer;
}

/** The panel's DOM; show(run) draws what has changed. */
function liveView() {
    const root = element("toca-live");
    const [buttons, above, plot, below] = ["buttons", "above", "plot", "below"].map((name) => element(name));
    const [words, why] = [element("words"), element("words")];
    const more = element("more", "button");
    more.type = "button";
    buttons.append(more);
    above.append(buttons, words);
    below.append(why);
    plot.hidden = true;
    root.append(above, plot, below);
    words.textContent = t("live.quiet");
    let [shown, known] = [NOTHING, LINE * 2];
    return {
        root, more, texts: [above, below],
        height() {
            if (above.isConnected && above.offsetHeight) known = above.offsetHeight + below.offsetHeight + GAPS;
            return known + (plot.hidden ? 0 : PLOT);
        },
        offer(words) {
            more.textContent = words;
            buttons.hidden = !words;
        },
        show(run) {
            if (run === shown) return;
            shown = run;
            plot.hidden = run === NOTHING;
            plot.innerHTML = drawing(run);
            words.textContent = figures(run);
            why.textContent = remark(run);
        },
    };
}

function element(className, kind = "div") {
    return Object.assign(document.createElement(kind), { className });
}
