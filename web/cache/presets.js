/** Saved presets: this machine's, and the settings of the one that a node has chosen, which travel in its workflow. */
import { app } from "../../../scripts/app.js";
import { api } from "../../../scripts/api.js";
import { chain, executionId, listenWhileInGraph, valueOf } from "../graph.js";
import { systemOf, widgetsOf } from "../ratios/graph.js";
import { t } from "../words.js";

const OWN = ["auto", "quality", "paper", "custom"];
const KEPT = "toca_preset";                     // a property of the node, saved with it: {name, settings}

/** "changed": this machine's presets {name: settings} have. */
export const changes = new EventTarget();
let here = {};

export async function learnPresets() {
    const response = await api.fetchApi("/toca/presets").catch(() => null);
    if (response?.ok) told(await response.json());
}

function told(presets) {
    here = presets;
    changes.dispatchEvent(new Event("changed"));
}

export const isSaved = (preset) => typeof preset === "string" && !OWN.includes(preset);

/** Of the preset that a node has its settings, null where they are not known. */
export function settingsOf(node) {
    const kept = node.properties[KEPT], preset = valueOf(node, "preset");
    return kept?.name === preset ? kept.settings : here[preset] ?? null;
}

/** Lets a node list what there is, keep what it has chosen, and send that with a prompt. */
export function attachPresets(node, changed) {
    const widget = node.widgets.find(({ name }) => name === "preset");
    const keep = () => {
        const name = widget.value;
        if (!isSaved(name)) delete node.properties[KEPT];
        else if (here[name] && node.properties[KEPT]?.name !== name) node.properties[KEPT] = { name, settings: here[name] };
    };
    const list = () => {
        keep();
        widget.options.values = [...new Set([...OWN, ...Object.keys(here), ...(isSaved(widget.value) ? [widget.value] : [])])];
        changed();
    };
    widget.serializeValue = () => {
        keep();
        const kept = node.properties[KEPT];
        if (valueOf(node, "preset") !== widget.value) return valueOf(node, "preset");
        return kept?.name === widget.value ? `${widget.value} ${JSON.stringify(kept.settings)}` : widget.value;
    };
    chain(widget, "callback", (name) => {
        if (here[name]) node.properties[KEPT] = { name, settings: here[name] };             // chosen anew: this machine's
        list();
    });
    chain(node, "onConfigure", list);
    listenWhileInGraph(node, changes, { changed: list });
    list();
}

// ---- the menu ----

/** What can be done with the presets of a node: [words, act]. */
export function actions(node) {
    const name = valueOf(node, "preset");
    const own = name in here ? [
        [t("preset.rename", { name }), async () => {
            const to = await asked(t("preset.newName"), name);
            if (to && to !== name) await changedOn({ action: "rename", name, to }, node);
        }],
        [t("preset.delete", { name }), async () => {
            const sure = await app.extensionManager.dialog.confirm({ title: t("preset.title"), message: t("preset.sure", { name }) });
            if (sure) await changedOn({ action: "delete", name }, null);
        }],
    ] : [];
    return [[t("preset.save"), async () => {
        const given = await asked(t("preset.name"), isSaved(name) ? name : "");
        if (given) await changedOn({ action: "save", name: given, ...question(node) }, node);
    }], ...own];
}

export function offerActions(node, event) {
    const entries = actions(node).map(([content, callback]) => ({ content, callback: () => { callback(); } }));
    return new window.LiteGraph.ContextMenu(entries, { event, className: "dark" });
}

const asked = (message, value) => app.extensionManager.dialog.prompt({ title: t("preset.title"), message, defaultValue: value });

function question(node) {
    return { node: executionId(node), system: systemOf(node), widgets: widgetsOf(node), ratios: null,
        workflow: node.graph?.rootGraph?.id };
}

/** Sends a change; node: one that has the changed preset from then on. */
async function changedOn(body, node) {
    const response = await api.fetchApi("/toca/presets", { method: "POST", headers: { "Content-Type": "application/json" },
        body: JSON.stringify(body) });
    const answer = await response.json().catch(() => ({ error: t("preset.failed", { status: response.status }) }));
    if (answer.error) {
        app.extensionManager.toast.add({ severity: "error", summary: t("preset.title"), detail: answer.error, life: 8000 });
        return;
    }
    told(answer.presets);
    const widget = node?.widgets.find(({ name }) => name === "preset");
    if (!widget || !answer.name) return;
    widget.value = answer.name;
    widget.callback?.(answer.name);
}
