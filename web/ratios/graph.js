/** What the graph says around a node: which ToCa Cache it belongs to, and which model that has. */
import { FARTHEST, nearestAfter, sourceOf, valueOf } from "../graph.js";

const LOADERS = { ToCaLoadDiT: "dit", ToCaLoadPixArt: "pixart", ToCaLoadOpenSora: "open_sora" };

/** The ToCa Cache that a node is, or that its first output feeds, through reroutes; undefined where there is none. */
export const cacheOf = (node) => nearestAfter(node, (next) => next.comfyClass === "ToCaCache");

/** The system of the model that comes into a ToCa Cache, "" where its loader does not tell. */
export function systemOf(cache) {
    let node = cache;
    for (let hops = 0; node && hops < FARTHEST; hops++) {
        if (node.comfyClass in LOADERS) return LOADERS[node.comfyClass];
        node = sourceOf(node, node.inputs?.find(({ type }) => type === "MODEL" || type === "*"));
    }
    return "";
}

/** The values of a node's own widgets, by name, as a prompt has them; what is for display only is left out. */
export function widgetsOf(node) {
    const own = node?.widgets?.filter((widget) => widget.serialize !== false && widget.options?.serialize !== false) ?? [];
    const sent = (widget) => (widget.name === "preset" ? widget.serializeValue?.() : undefined) ?? valueOf(node, widget.name);
    return Object.fromEntries(own.map((widget) => [widget.name, sent(widget)]));
}
