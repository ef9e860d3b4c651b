/** ToCa Cache: what it does, step by step, while the sampler runs; and the button that shows its rare settings. */
import { offerActions } from "../cache/presets.js";
import { addPanel, chain, executionId, listenWhileInGraph, refit, saveHeightWithout } from "../graph.js";
import { t } from "../words.js";
import { budget } from "./budget.js";
import { changes, follow, stateOf } from "./prompts.js";
import { COLOURS, drawing, figures, headline, legend, remarks } from "./timeline.js";

const MARGIN = 6;                               // around what it shows
const PLOT = 34, GAPS = 8, FRESH = 46;          // height of the bars, where there are any; between parts; of all with nothing to show yet

const CSS = `
.toca-live { display: flex; flex-direction: column; gap: 2px; height: 100%; box-sizing: border-box; padding: 2px; overflow: hidden;
    font: 13px/16px sans-serif; color: var(--input-text, #ddd); }
.toca-live [hidden] { display: none !important; }
.toca-live .plot { position: relative; flex: 1 1 ${PLOT}px; min-height: ${PLOT}px; }
.toca-live svg { position: absolute; inset: 0; width: 100%; height: 100%; overflow: visible; }
.toca-live .ahead { fill: var(--input-text, #ddd); opacity: 0.35; }
.toca-live circle { fill: var(--input-text, #ddd); stroke: var(--comfy-input-bg, #222); stroke-width: 1.5px; }
.toca-live .words { overflow-wrap: anywhere; }
.toca-live .head { font-weight: bold; }
.toca-live .wrong { color: var(--error-text, #ff4444); }
.toca-live .legend { display: flex; flex-wrap: wrap; gap: 0 12px; }
.toca-live .swatch { display: inline-block; width: 9px; height: 9px; border-radius: 2px; margin-right: 4px; }
.toca-live .swatch.error { width: 6px; height: 6px; border-radius: 50%; background: var(--input-text, #ddd); }
.toca-live .more { display: none; }
:is(.dom-widget, [data-node-id]) .toca-live .more { display: inline-block; }      /* what it shows is on the node, and not in an app */
.toca-live .buttons { display: flex; flex-wrap: wrap; gap: 4px; margin-bottom: 2px; }
.toca-live button { font: 12px/16px sans-serif; color: inherit; background: var(--comfy-input-bg, #222); cursor: pointer;
    border: 1px solid var(--border-color, #555); border-radius: 4px; padding: 1px 7px; }
.toca-live button:focus-visible { outline: 2px solid #0072B2; outline-offset: 1px; }
`;

export const live = {
    setup() {
        document.head.append(Object.assign(document.createElement("style"), { textContent: CSS }));
        follow();
    },

    nodeCreated(node) {
        if (node.comfyClass === "ToCaCache") attach(node);
    },

    /** Another workflow may be open now. */
    loaded() {
        changes.dispatchEvent(new Event("changed"));
    },
};

function attach(node) {
    const view = liveView();
    const settings = node.tocaSettings;
    let height = view.height();                                         // that the node has followed; the canvas would give it more by itself
    addPanel(node, "panel.live", view.root, { margin: MARGIN, getMinHeight: () => height + 2 * MARGIN });

    const draw = () => {
        if (!node.graph || node.flags?.collapsed) return;
        settings.refresh();
        view.show(stateOf(executionId(node)), settings.about, budget(node));
        keepUp();
    };
    settings.changed.add(() => queueMicrotask(draw));                   // once the node has its new height
    const keepUp = () => {                                              // with what is shown, or with its width
        const by = view.height() - height;
        height += by;
        if (by) refit.by(node, by);
    };
    listenWhileInGraph(node, changes, { changed: draw });
    view.root.addEventListener("pointerenter", draw);                   // the sampler's steps may be others by now
    chain(node, "onConnectionsChange", () => queueMicrotask(draw));
    const offer = () => view.offer(settings.open ? t("more.hide") : settings.hidden() ? t("more.show") : "");
    settings.changed.add(offer);
    view.more.addEventListener("click", () => settings.toggle());
    view.presets.addEventListener("click", (event) => offerActions(node, event));
    offer();
    refit.exactly(node);

    const opened = new ResizeObserver(draw);                            // a node that is no longer collapsed shows what it missed
    opened.observe(view.root);
    saveHeightWithout(node, () => shownHeight(node, view, height - FRESH));
    const laid = new ResizeObserver(keepUp);
    for (const part of view.texts) laid.observe(part);
    chain(node, "onRemoved", () => { opened.disconnect(); laid.disconnect(); });
}

/** Of a node's height what is there for a run. In Vue a node that nobody has made higher is as high as what is on it. */
function shownHeight(node, view, grown) {
    if (!window.LiteGraph.vueNodesMode) return grown;
    return view.spare() > 30 ? 0 : node.size[1] - node.computeSize()[1] + grown;
}

/** The panel's DOM; show(state) draws what has changed. */
function liveView() {
    const root = element("toca-live");
    const [buttons, above, plot, below] = ["buttons", "above", "plot", "below"].map((name) => element(name));
    const [promise, head, kinds, words] = [element("words budget"), element("words head"), element("legend"), element("words")];
    const more = Object.assign(element("more", "button"), { type: "button" });
    const presets = Object.assign(element("presets", "button"), { type: "button", textContent: t("preset.button") });
    buttons.append(more, presets);
    above.append(buttons, promise, head);
    below.append(kinds, words);
    root.append(above, plot, below);
    plot.hidden = true;
    let [shown, known] = ["", FRESH];

    function tell({ state, run, count, end, error }, about, taken) {
        promise.textContent = taken;
        promise.hidden = !taken;
        plot.hidden = kinds.hidden = !run;
        plot.innerHTML = run ? drawing(run) : "";
        kinds.replaceChildren(...(run ? legend(run) : []).map(([kind, number, name]) => {
            const entry = element("kind", "span");
            const swatch = element("swatch", "span");
            swatch.classList.add(kind);
            swatch.style.background = COLOURS[kind] ?? "";
            entry.append(swatch, `${number} ${name}`.trim());
            return entry;
        }));
        head.textContent = run ? headline(run, end) : "";
        root.title = run ? figures(run) : "";
        words.textContent = run ? remarks(run, count) : (state === "none" && about) || t(`state.${state}`, { message: error?.message });
        head.hidden = !head.textContent;
        words.hidden = !words.textContent;
        words.classList.toggle("wrong", state === "refused");
    }

    return {
        root, more, presets, texts: [above, below],
        height() {
            if (root.isConnected && root.offsetHeight) known = above.offsetHeight + below.offsetHeight + GAPS;
            return known + (plot.hidden ? 0 : PLOT);
        },
        /** Height that nothing needs. */
        spare() {
            return root.isConnected && root.offsetHeight ? root.offsetHeight - this.height() : 0;
        },
        offer(words) {
            more.textContent = words;
            more.hidden = !words;
        },
        /** about: what the preset is, in place of a run where there is none yet; taken: what the next one will take, where that is known. */
        show(state, about, taken) {
            const now = JSON.stringify([state, about, taken, t("more.show")]);
            if (now === shown) return;
            shown = now;
            tell(state, about, taken);
        },
    };
}

function element(className, kind = "div") {
    return Object.assign(document.createElement(kind), { className });
}
