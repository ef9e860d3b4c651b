/** Puts the chart on ToCa Ratios, and on ToCa Cache over the text that it has of its own. */
import { api } from "../../../scripts/api.js";
import { addPanel, chain, effective, executionId, isLinked, listenWhileInGraph, refit, setHidden, setValue, valueOf } from "../graph.js";
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
    const widget = addPanel(node, "panel.chart", panel.root, {
        margin: 6, getMinHeight: height, getMaxHeight: isCache ? height : undefined,
    });

    const show = () => {
        panel.root.hidden = !isShown();
        setHidden(widget, !isShown());
    };
    const refresh = () => {
        if (panel.root.hidden === isShown()) refit.ifTooLow(node, show);
        if (isShown()) panel.refresh();
    };
    node.tocaSettings?.changed.add(show);
    show();
    refit.exactly(node);
    listenWhileInGraph(node, graph, { changed: refresh });
    listenWhileInGraph(node, api, { "toca.report": refresh });
    for (const other of node.widgets.filter((other) => other !== widget)) chain(other, "callback", announce);
    for (const name of ["onConnectionsChange", "onAdded"]) chain(node, name, announce);
    const opened = new ResizeObserver(announce);                        // the subgraph's face may say something else by now
    opened.observe(panel.root);
    chain(node, "onRemoved", () => { panel.stop(); opened.disconnect(); });
}

function source(node, text, isCache) {
    const cache = () => (isCache ? node : cacheOf(node));
    const own = {
        text: () => String(valueOf(node, text.name) ?? ""),
        write: (value) => {
            text.value = value;
            const counts = effective(node, text.name);
            if (counts !== text) setValue(node, text.name, value);
        },
        place: () => ({ node: executionId(cache()), system: systemOf(cache()), workflow: node.graph?.rootGraph?.id ?? "" }),
        widgets: () => widgetsOf(cache()),
        ratios: () => (isCache ? null : String(valueOf(node, text.name) ?? "")),
        remark: () => remarkOn(cache()),
        ...(isCache ? {} : { use: () => use(cache()) }),
    };
    const folding = { isOpen: () => Boolean(node.properties[OPEN]), open: (yes) => refit(node, () => { node.properties[OPEN] = yes; }) };
    return isCache ? { ...own, ...folding } : own;
}

function remarkOn(cache) {
    if (!cache) return t("chart.unconnected");
    const [preset, level] = [valueOf(cache, "preset"), valueOf(cache, "level")];
    if (preset !== "custom") return t("chart.unused", { preset });
    return level === "module" ? "" : t("chart.level", { level });
}

function use(cache) {
    if (!cache) return;
    setValue(cache, "preset", "custom");
    setValue(cache, "level", "module");
    cache.tocaSettings?.refresh();
    announce();
}

/** Of several changes at once, one is told, after all of them. */
let telling = null;
function announce() {
    telling ??= setTimeout(() => {
        telling = null;
        graph.dispatchEvent(new Event("changed"));
    });
}
