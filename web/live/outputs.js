/**
 * What nodes send to the browser for themselves. The host gives an output to the node of that id in whichever workflow is open when it comes,
 * and keeps it there: here it goes to the workflow that was queued.
 */
import { app } from "../../../scripts/app.js";
import { api } from "../../../scripts/api.js";
import { chain, executionId, listenWhileInGraph } from "../graph.js";
import { changes, isElsewhere } from "./prompts.js";

/** "updated": the host has other outputs of nodes than those of a run that has just ended, such as those of the tab that is open now. */
export const outputs = new EventTarget();

/** Lets a node show what it sent to the browser, when it comes and when the host has it again; show(null) where that was another's. */
export function showOutput(node, show) {
    let shown = null, before = null, came = null;                       // came: the prompt of the output that came last, in place of `before`
    const known = () => {
        const isInner = node.graph && node.graph !== node.graph.rootGraph;
        return isInner ? `${node.graph.id}:${node.id}` : String(node.id);
    };
    const put = (output) => { [before, shown] = [shown, output]; show(output); };
    const executed = ({ detail: { node: id, display_node: display, prompt_id: prompt } }) => {      // the host has called onExecuted by now
        if (String(display ?? id) !== executionId(node)) return;
        came = prompt;
        changed();
    };
    const changed = () => {                                             // the host says late which workflow is open
        if (!came || !isElsewhere(came)) return;
        came = null;
        if (before) app.nodeOutputs[known()] = before;
        else delete app.nodeOutputs[known()];
        put(before);
    };
    const updated = () => {
        const own = app.nodeOutputs?.[known()];
        if (own && own !== shown) put(own);
    };
    chain(node, "onExecuted", put);
    listenWhileInGraph(node, api, { executed });
    listenWhileInGraph(node, changes, { changed });
    listenWhileInGraph(node, outputs, { updated });
}
