/** Nodes of the graph, and what they hear. */

/** The node with an id of the prompt, such as "5:12" for node 12 in the subgraph that is node 5; undefined where there is none. */
export function nodeAt(graph, id) {
    const [first, ...inner] = String(id ?? "").split(":");
    const node = graph?.getNodeById(first);
    return inner.length ? nodeAt(node?.subgraph, inner.join(":")) : node ?? undefined;
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
