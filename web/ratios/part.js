/** Puts the chart on ToCa Ratios, and on ToCa Cache over the text that it has of its own. */
import { api } from "../../../scripts/api.js";
import { chain, executionId, isLinked, listenWhileInGraph, refit, setHidden, valueOf } from "../graph.js";
import { cacheOf, systemOf, widgetsOf } from "./graph.js";
import { t } from "../words.js";
import { RatioPanel } from "./panel.js";
import { CLOSED, CSS, HEIGHT } from "./style.js";

const TEXTS = { ToCaRatios: "ratios", ToCaCache: "block_ratios" };
const OPEN = "toca_ratios_open";                            // a property of the node, saved with it
const graph = new EventTarget();                            // "changed": widgets or links of one of these nodes

export const ratios = {
    setup() {
        document.head.append(Object.assign(document.createElement("style"), { textContent: CSS }));
    },

    nodeCreated(node) {
        const text = node.widgets?.find(({ name }) => name === TEXTS[node.comfyClass]);
        if (text) attach(node, text);
    },
};

function attach(node, text) {
    const isCache = node.comfyClass === "ToCaCache";
    const panel = new RatioPanel(source(node, text, isCache));
    const isShown = () => !isCache
        || (valueOf(node, "preset") === "custom" && valueOf(node, "level") === "module" && !isLinked(node, "ratios"));
    const height = () => (isCache && !node.properties[OPEN] ? CLOSED + 8 : HEIGHT + (isCache ? CLOSED : 0));
    const widget = node.addDOMWidget("toca_chart", "toca_ratios", panel.root, {
        serialize: false, hideOnZoom: false, hideInPanel: true, margin: 6, getMinHeight: height, getMaxHeight: isCache ? height : undefined,
    });
    widget.serialize = false;

    const show = () => {
        panel.root.hidden = !isShown();
        setHidden(widget, !isShown());
    };
    const refresh = () => {
        if (panel.root.hidden === isShown()) refit(node, show);
        if (isShown()) panel.refresh();
    };
    node.tocaSettings?.changed.add(show);
    show();
    if (isCache) refit.exactly(node);
    listenWhileInGraph(node, graph, { changed: refresh });
    listenWhileInGraph(node, api, { "toca.report": refresh });
    for (const other of node.widgets.filter((other) => other !== widget)) chain(other, "callback", announce);
    for (const name of ["onConnectionsChange", "onAdded"]) chain(node, name, announce);
    chain(node, "onRemoved", () => panel.stop());
}

function source(node, text, isCache) {
    const cache = () => (isCache ? node : cacheOf(node));
    const own = {
        text: () => String(text.value ?? ""),
        write: (value) => { text.value = value; },
        node: () => executionId(cache()),
        system: () => systemOf(cache()),
        widgets: () => widgetsOf(cache()),
        ratios: () => (isCache ? null : String(text.value ?? "")),
        remark: () => remarkOn(cache()),
    };
    const folding = { isOpen: () => Boolean(node.properties[OPEN]), open: (yes) => refit(node, () => { node.properties[OPEN] = yes; }) };
    return isCache ? { ...own, ...folding } : own;
}

function remarkOn(cache) {
    if (!cache) return t("chart.unconnected");
    const preset = valueOf(cache, "preset");
    return preset === "custom" ? "" : t("chart.unused", { preset });
}

/** Of several changes at once, one is told, after all of them. */
let telling = null;
function announce() {
    telling ??= setTimeout(() => {
        telling = null;
        graph.dispatchEvent(new Event("changed"));
    });
}
