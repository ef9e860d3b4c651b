/** What a run will take where `calls` or `speed` says so, before it runs. */
import { effective, nearestAfter, sourceOf, valueOf } from "../graph.js";
import { t } from "../words.js";

/** How many calls of the model a run of so many may take, as `toca_core/timeline.py` has it; undefined where nothing says. */
function allowed(calls, speed, total) {
    const counts = [calls, speed && total ? halfToEven(total / speed) : 0].filter(Boolean);
    return counts.length ? Math.max(1, Math.min(...counts)) : undefined;
}

/** As Python rounds. */
function halfToEven(number) {
    const below = Math.floor(number);
    return number - below === 0.5 ? below + (below % 2) : Math.round(number);
}

/** In words; "" where neither of the two is set, or where they do not count. */
export function budget(node) {
    if (effective(node, "calls")?.hidden) return "";
    const [calls, speed] = [valueOf(node, "calls"), valueOf(node, "speed")], total = callsOf(nearestAfter(node, saysSteps), node);
    const most = allowed(calls, speed, total);
    if (!most) return "";
    if (!total) return t("budget.most", { calls: most });
    const spent = Math.min(most, total);
    return t("budget.of", { calls: spent, total, times: (total / spent).toFixed(1) });
}

const saysSteps = (node) => Number.isFinite(valueOf(node, "steps"));

/** How often a run asks the model without a cache; 0 where that is not one call a step, or is not known. said: the node that has the steps. */
function callsOf(said, cache) {
    if (!said || !asksOncePerStep(samplerOf(said), cache)) return 0;
    const steps = valueOf(said, "steps");
    const [start, end] = [valueOf(said, "start_at_step") ?? 0, valueOf(said, "end_at_step") ?? steps];
    return Math.max(0, Math.min(steps, end) - start);
}

/** The sampler's name: beside the steps, or, where a scheduler has those, at the node that the one that samples has it from. */
function samplerOf(said) {
    const own = valueOf(said, "sampler_name");
    if (own !== undefined) return own;
    const input = (node) => node.inputs?.find(({ name }) => name === "sampler");
    const sampling = nearestAfter(said, input);
    return sampling && valueOf(sourceOf(sampling, input(sampling)), "sampler_name");
}

/** By the names that the server sends with the node (nodes/host/samplers.py). */
const asksOncePerStep = (name, { constructor: { nodeData } }) => nodeData?.input?.optional?.calls?.[1]?.one_call?.includes(name) ?? false;
