/** What the graph says around a node: which ToCa Cache it belongs to, and which model that has. */
import { sourceOf, valueOf } from "../graph.js";

const LOADERS = { ToCaLoadDiT: "dit", ToCaLoadPixArt: "pixart", ToCaLoadOpenSora: "open_sora" };
const FARTHEST = 50;                                                    // links followed, since a graph may be wrong

/** The ToCa Cache that a node is, or that its first output feeds, through reroutes; undefined where there is none. */
export function cacheOf(node) {
    const waiting = [node];
    for (let hops = 0; waiting.length && hops < FARTHEST; hops++) {
        const next = waiting.shift();
        if (next.comfyClass === "ToCaCache") return next;
        for (const id of next.outputs?.[0]?.links ?? []) {
            const target = next.graph?.getNodeById(next.graph.getLink(id)?.target_id);
            if (target) waiting.push(target);
        }
    }
    return undefined;
}

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
