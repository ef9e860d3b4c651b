/** Nodes of the graph, and what they hear. */
import { app } from "../../scripts/app.js";
import { english, t } from "./words.js";

/** A node's id in the prompt: those of the subgraphs around it come first. */
export function executionId(node) {
    const path = pathTo(node?.graph?.rootGraph, node?.graph);
    return path ? [...path, node.id].join(":") : "";
}

function pathTo(graph, wanted) {
    if (!graph) return null;
    if (graph === wanted) return [];
    for (const holder of graph.nodes.filter(({ subgraph }) => subgraph)) {
        const path = pathTo(holder.subgraph, wanted);
        if (path) return [holder.id, ...path];
    }
    return null;
}

/** Lets `follow` run after a method of the node, with what that was given. */
export function chain(node, name, follow) {
    const before = node[name];
    node[name] = function (...values) {
        const result = before?.apply(this, values);
        follow(...values);
        return result;
    };
}

/** Listens to events {type: listener} for as long as the node is in a graph. */
export function listenWhileInGraph(node, source, listeners) {
    const each = (change) => { for (const [type, listener] of Object.entries(listeners)) source[change](type, listener); };
    chain(node, "onAdded", () => each("addEventListener"));
    chain(node, "onRemoved", () => each("removeEventListener"));
}

const panels = new Map();                                               // node -> its panels' elements, while it is in a graph

/**
 * Puts something to look at on a node; it is in no workflow and no prompt, but an app that shows it names it. id: of its words, which are its
 * name, since the host's lists show names.
 */
export function addPanel(node, id, element, options) {
    const name = english(id);
    const widget = node.addDOMWidget(name, name, element, { serialize: false, hideOnZoom: false, hideInPanel: true, ...options });
    widget.serialize = false;
    widget.label = t(id);
    chain(node, "onAdded", () => panels.set(node, [...new Set([...panels.get(node) ?? [], element])]));
    chain(node, "onRemoved", () => panels.delete(node));
    return widget;
}

/** Vue keeps what it has mounted for a node when undo makes that node anew: there the new node's panels take the place of the old one's. */
export function remount() {
    for (const [node, elements] of panels) for (const element of elements) {
        if (element.isConnected || node.graph !== app.canvas?.graph) continue;
        const left = document.querySelector(`[data-node-id="${node.id}"] .${element.classList[0]}`);
        left?.replaceWith(element);
    }
}

const INPUTS_OF_SUBGRAPH = -10;        // as links name the node that a subgraph's inputs come from

/** The node that an input's link comes from, out of the subgraph that it is in; undefined where there is none. */
export function sourceOf(node, input) {
    const link = node?.graph?.getLink?.(input?.link);
    if (Number(link?.origin_id) !== INPUTS_OF_SUBGRAPH) return link ? node.graph.getNodeById(link.origin_id) ?? undefined : undefined;
    const face = holderOf(node.graph.rootGraph, node.graph), { name } = node.graph.inputs?.[link.origin_slot] ?? {};
    return face && sourceOf(face, face.inputs.find((other) => other.name === name));
}

export const FARTHEST = 50;                                             // links followed, since a graph may be wrong

/** The nearest node that is wanted, of a node and those that it feeds through first outputs; undefined where there is none. */
export function nearestAfter(node, wanted) {
    const waiting = [node];
    for (let hops = 0; waiting.length && hops < FARTHEST; hops++) {
        const next = waiting.shift();
        if (wanted(next)) return next;
        for (const id of next.outputs?.[0]?.links ?? []) {
            const target = next.graph?.getNodeById(next.graph.getLink(id)?.target_id);
            if (target) waiting.push(target);
        }
    }
    return undefined;
}

/** The widget that says what a widget of a node is in a run: its own, or the one on the face of the subgraph that it is in. */
export function effective(node, name) {
    const own = node?.widgets?.find((widget) => widget.name === name);
    const link = node?.graph?.getLink?.(node.inputs?.find((input) => input.name === name)?.link);
    const slot = Number(link?.origin_id) === INPUTS_OF_SUBGRAPH ? node.graph.inputs?.[link.origin_slot] : null;
    const face = slot ? holderOf(node.graph.rootGraph, node.graph) : null;
    return (face && effective(face, slot.name)) ?? own;
}

export const valueOf = (node, name) => effective(node, name)?.value;

/** Sets a widget as its user would. */
export function setValue(node, name, value) {
    const widget = effective(node, name);
    if (!widget) return;
    widget.value = value;
    widget.callback?.(value);
}

/** The node that is a subgraph, wherever it stands. */
function holderOf(graph, wanted) {
    const holders = graph?.nodes.filter(({ subgraph }) => subgraph) ?? [];
    return holders.find(({ subgraph }) => subgraph === wanted) ?? holders.map(({ subgraph }) => holderOf(subgraph, wanted)).find(Boolean);
}

/** Whether a link comes into an input, a widget's or another. */
export function isLinked(node, name) {
    return node.inputs?.some((input) => input.name === name && input.link != null) ?? false;
}

const loading = new WeakSet();          // nodes that a workflow is giving their values

/** Lets a change of what is on a node happen: it keeps its width, and what its user has made it higher than it need be. */
export function refit(node, change) {
    const before = node.computeSize()[1];
    change();
    if (loading.has(node) || node.computeSize()[1] === before) return;
    fit(node, window.LiteGraph.vueNodesMode ? 0 : Math.max(0, node.size[1] - before));
}

/** As high as what is on the node, and as wide as it is. */
refit.exactly = (node) => fit(node, 0);

/** What is on the node has become higher by so much, and it follows. Vue lays it out by itself. */
refit.by = (node, by) => {
    if (!window.LiteGraph.vueNodesMode) fit(node, Math.max(0, node.size[1] + by - node.computeSize()[1]));
};

/** A change that its user has not made on the node: only where it is too low now does it become higher. */
refit.ifTooLow = (node, change) => {
    change();
    refit.by(node, 0);
};

/** What a run shows is no edit, which undo would take it for: a node is saved as high as it would be without. grown(): how much that is. */
export function saveHeightWithout(node, grown) {
    chain(node, "onSerialize", (saved) => { saved.size = [saved.size[0], node.size[1] - grown()]; });
}

/** A node that is loaded or pasted is as high as it was saved: by the values that come one by one it would grow each time. */
export function keepHeightOnLoad(node) {
    const configure = node.configure;
    node.configure = function (...values) {
        loading.add(node);
        try {
            return configure.apply(this, values);
        } finally {
            loading.delete(node);
        }
    };
}

function fit(node, spare) {
    const height = node.computeSize()[1] + spare;
    if (height !== node.size[1]) node.setSize([node.size[0], height]);
    node.setDirtyCanvas?.(true, true);
}

/** Takes a widget off its node, or puts it back; its value stays. The canvas reads one of the two, Vue the other. */
export function setHidden(widget, hidden) {
    if (Boolean(widget.hidden) === hidden && Boolean(widget.options?.hidden) === hidden) return;
    widget.hidden = hidden;
    widget.options ??= {};
    widget.options.hidden = hidden;
    widget.disabled = !widget.disabled;             // Vue draws a node anew when a widget's state changes; `options` is none of it
    widget.disabled = !widget.disabled;
}
