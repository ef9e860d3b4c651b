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
    const [calls, speed] = [valueOf(node, "calls"), valueOf(node, "speed")], total = callsOf(node);
    const most = allowed(calls, speed, total);
    if (!most) return "";
    if (!total) return t("budget.most", { calls: most });
    const spent = Math.min(most, total);
    return t("budget.of", { calls: spent, total, times: (total / spent).toFixed(1) });
}

/** How often a run asks the model without a cache; 0 where that is not one call a step, or is not known. */
function callsOf(cache) {
    const { steps: said, sampler } = sampling(cache);
    if (!said || !asksOncePerStep(sampler, cache)) return 0;
    const steps = valueOf(said, "steps");
    const [start, end] = [valueOf(said, "start_at_step") ?? 0, valueOf(said, "end_at_step") ?? steps];
    return Math.max(0, Math.min(steps, end) - start);
}

/** {steps: the node that has the steps, sampler: the sampler's name}: both at what samples, or where it has its noise levels and sampler from. */
function sampling(cache) {
    const isWhole = (node) => saysSteps(node) && valueOf(node, "sampler_name") !== undefined;
    const input = (node, wanted) => node.inputs?.find(({ name }) => name === wanted);
    const node = nearestAfter(cache, (next) => isWhole(next) || input(next, "sigmas"));
    if (!node || isWhole(node)) return { steps: node, sampler: valueOf(node, "sampler_name") };
    const [steps, sampler] = ["sigmas", "sampler"].map((name) => sourceOf(node, input(node, name)));
    return { steps: saysSteps(steps) ? steps : undefined, sampler: valueOf(sampler, "sampler_name") };
}

const saysSteps = (node) => Number.isFinite(valueOf(node, "steps"));

/** By the names that the server sends with the node (nodes/host/samplers.py). */
const asksOncePerStep = (name, { constructor: { nodeData } }) => nodeData?.input?.optional?.calls?.[1]?.one_call?.includes(name) ?? false;
