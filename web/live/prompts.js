/**
 * What became of the prompts that were queued in this page, as far as ToCa Cache nodes are concerned. Each belongs to one workflow, by the
 * tab that it was queued from: another's run never shows, whatever its nodes' ids. A page that is loaded anew knows them again.
 */
import { app } from "../../../scripts/app.js";
import { api } from "../../../scripts/api.js";
import { reported, stepped } from "./timeline.js";

const MOST = 24, KEPT = 8;                      // prompts known, and of these kept for a page that is loaded anew
const EVERY = 250;                              // ms between looks at which workflow is open, of which the host sends no event
const STORED = "ToCa.prompts";                  // in this tab's own storage
const ENDS = { execution_success: "success", execution_error: "error", execution_interrupted: "interrupted" };

/** "changed": something has become known. */
export const changes = new EventTarget();

/**
 * id -> {owner, path, graph, caches: {id: enabled}, there: ids of the workflow's own nodes, sent or not, partial, started, cached,
 * runs: {id: run}, count: {id: runs}, end, error}
 */
const prompts = new Map();
let order = 0;

const active = () => app.extensionManager?.workflow?.activeWorkflow;
const ofGraph = (workflow, graph) => (workflow?.activeState?.id ?? graph) === graph;       // the host says late which workflow is open
const tell = () => changes.dispatchEvent(new Event("changed"));

/** Begins to listen. */
export function follow() {
    const queue = api.queuePrompt;
    api.queuePrompt = async function (number, data, options, ...rest) {
        const owner = active();
        const answer = await queue.call(this, number, data, options, ...rest);
        if (answer?.prompt_id) queued(answer.prompt_id, owner, data, Boolean(options?.partialExecutionTargets));
        return answer;
    };
    api.addEventListener("execution_start", ({ detail }) => { started(promptOf(detail.prompt_id)); tell(); });
    api.addEventListener("execution_cached", ({ detail }) => { promptOf(detail.prompt_id).cached = detail.nodes ?? []; });
    for (const [type, end] of Object.entries(ENDS)) api.addEventListener(type, ({ detail }) => { ended(detail, end); tell(); });
    for (const type of ["toca.step", "toca.report"]) api.addEventListener(type, ({ detail }) => { came(type, detail); tell(); });
    api.addEventListener("reconnected", catchUp);
    window.addEventListener("pagehide", store);
    let open = active();
    setInterval(() => { if (open !== (open = active())) tell(); }, EVERY);
    restore();
    catchUp();
}

function promptOf(id) {
    if (!prompts.has(id)) prompts.set(id, { caches: null, cached: [], runs: {}, count: {}, started: 0, end: null, error: null });
    while (prompts.size > MOST) prompts.delete(prompts.keys().next().value);
    return prompts.get(id);
}

function queued(id, owner, { output, workflow }, partial) {
    const caches = Object.entries(output ?? {}).filter(([, { class_type: type }]) => type === "ToCaCache");
    const there = (workflow?.nodes ?? []).filter(({ type }) => type === "ToCaCache").map((node) => String(node.id));
    Object.assign(promptOf(id), { owner: ofGraph(owner, workflow?.id) ? owner : undefined, partial, there, graph: workflow?.id,
        caches: Object.fromEntries(caches.map(([node, { inputs }]) => [node, inputs?.enable !== false])) });
    tell();
}

function started(prompt) {
    prompt.started ||= ++order;
}

function ended({ prompt_id: id, node_id: node, exception_message: message }, end) {
    const prompt = prompts.get(id);
    const error = end === "error" ? { node: String(node), message: String(message ?? "").trim() } : null;
    if (prompt) Object.assign(prompt, { end, error });
}

function came(type, detail) {
    if (!detail?.prompt) return;
    const prompt = promptOf(detail.prompt), { cache } = detail;
    started(prompt);
    prompt.graph ??= detail.workflow;
    const before = prompt.runs[cache];
    if (!before || before.node !== detail.node || before.number !== detail.run) prompt.count[cache] = (prompt.count[cache] ?? 0) + 1;
    prompt.runs[cache] = (type === "toca.step" ? stepped : reported)(detail);
}

/** What has come while nobody listened: before the page was loaded, or while the connection was gone. */
async function catchUp() {
    const client = sessionStorage.getItem("clientId") ?? api.clientId ?? "";
    const [told, queue] = await Promise.all([`/toca/runs?${new URLSearchParams({ client })}`, "/queue"].map(async (address) => {
        const response = await api.fetchApi(address).catch(() => null);
        return response?.ok ? response.json() : null;
    }));
    for (const { type, detail } of told ?? []) if (!prompts.get(detail.prompt)?.runs[detail.cache]?.done) came(type, detail);
    const waiting = queue && [...queue.queue_running, ...queue.queue_pending].map(([, id]) => id);
    if (waiting) for (const [id, prompt] of prompts) if (prompt.started && !prompt.end && !waiting.includes(id)) prompt.end = "success";
    tell();
}

function store() {
    const kept = [...prompts].slice(-KEPT).map(([id, { owner, ...prompt }]) => [id, { ...prompt, path: owner?.path ?? prompt.path }]);
    try {
        sessionStorage.setItem(STORED, JSON.stringify({ order, kept }));
    } catch {
        sessionStorage.removeItem(STORED);      // there is no room: then nothing is known of them
    }
}

function restore() {
    const { order: last, kept } = JSON.parse(sessionStorage.getItem(STORED) ?? "{}");
    order = last ?? 0;
    for (const [id, prompt] of kept ?? []) prompts.set(id, prompt);
}

/** Whether a prompt was queued from the workflow that is open; one that this page did not queue, by the workflow's id. */
function isOfOpen(prompt) {
    const graph = app.rootGraph ?? app.graph, workflow = active();
    if (prompt.graph === undefined || prompt.graph !== graph?.id) return false;
    return prompt.owner ? prompt.owner === workflow : prompt.path === undefined || prompt.path === workflow?.path;
}

/** Whether a prompt that this page has queued came from the workflow that is open. */
export const isOpen = (id) => prompts.has(id) && isOfOpen(prompts.get(id));

/** Whether a prompt is known to be of a workflow that is not open. */
export const isElsewhere = (id) => prompts.get(id)?.graph !== undefined && !isOpen(id);

/**
 * What is to be shown on a ToCa Cache, by its id in prompts: {state, run, count, end, error}, of the last prompt of its workflow.
 * state: "none" yet, "out" of the prompt, "off", "waiting" for its sampler, "run", "cached" by the host, "unused", "refused", "failed",
 * "stopped"
 */
export function stateOf(node) {
    const own = [...prompts.values()].filter((prompt) => prompt.started && isOfOpen(prompt));
    own.sort((one, other) => other.started - one.started);
    return own.map((prompt) => ofPrompt(prompt, node)).find(Boolean) ?? { state: "none" };
}

function ofPrompt({ caches, there, cached, runs, count, partial, end, error }, node) {
    const run = runs[node];
    if (run) return { state: "run", run, count: count[node], end };
    if (caches === null) return null;
    if (!(node in caches)) return node.includes(":") || there.includes(node) ? { state: "out" } : null;     // null: it is newer
    if (!caches[node]) return { state: "off" };
    if (!end) return { state: "waiting" };
    if (end !== "success") return { state: end === "interrupted" ? "stopped" : error.node === node ? "refused" : "failed", error };
    if (cached.includes(node)) return { state: "cached" };
    return partial ? null : { state: "unused" };
}
