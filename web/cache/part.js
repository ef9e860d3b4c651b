/** ToCa Cache: of its widgets those that count are on the node, in both of the host's renderers; the others keep their values. */
import { app } from "../../../scripts/app.js";
import { api } from "../../../scripts/api.js";
import { chain, executionId, isLinked, refit, setHidden, valueOf } from "../graph.js";
import { systemOf } from "../ratios/graph.js";
import { describe } from "../ratios/server.js";
import { t } from "../words.js";
import { addLikeness } from "./likeness.js";
import { attachPresets, isSaved, learnPresets, settingsOf } from "./presets.js";
import { counting, takesTolerance } from "./shown.js";

const LAYOUT = "toca_layout";           // a property of nodes that were saved with their size of now; older ones are too high
const MORE = "toca_more_open";          // another: what is rare is shown too
const DECIDE = ["preset", "level", "tolerance", "stale_tokens"];

export const cache = {
    setup() {
        learnPresets();
        api.addEventListener("execution_success", learnPresets);                    // ToCa Calibrate may have saved one
    },

    nodeCreated(node) {
        if (node.comfyClass === "ToCaCache") attach(node);
    },
};

function attach(node) {
    const own = [...node.widgets];
    const usual = new Map(own.map(({ name, value }) => [name, value]));
    for (const { options } of own) if (options) options.advanced = false;           // what is rare is folded here, in both renderers alike
    const likeness = addLikeness(node, () => show());

    const state = {
        get open() { return Boolean(node.properties[MORE]); },                      // whether what is rare is shown too
        hidden: () => state.folded.filter((name) => !state.open && isUsual(name)).length,
        toggle() { node.properties[MORE] = !state.open; show(); },
        refresh() { if (JSON.stringify(decisive()) !== shown) refit.ifTooLow(node, choose); },      // after a change that no widget of its own tells
        folded: [],
        about: "",                                                                  // what the preset is, in words
        changed: new Set(),                                                         // to be told when the widgets have changed
    };
    let shown = "";
    const decisive = () => Object.fromEntries(DECIDE.map((name) => [name, valueOf(node, name)]));
    const isUsual = (name) => valueOf(node, name) === usual.get(name) && !isLinked(node, name);
    node.tocaSettings = state;

    function choose() {
        const values = decisive();
        shown = JSON.stringify(values);
        const saved = isSaved(values.preset) ? settingsOf(node) : null;
        const { always, folded } = counting(values, saved);
        const takes = takesTolerance(values, saved);
        const isOpen = state.open || app.extensionManager.setting.get("Comfy.Node.AlwaysShowAdvancedWidgets");
        const counts = new Set([...always, ...folded.filter((name) => isOpen || !isUsual(name))]);
        if (takes) likeness.sync(values);
        if (!takes || !likeness.isOwn()) counts.delete("tolerance");
        state.folded = folded.filter((name) => usual.has(name));
        for (const widget of own) setHidden(widget, !counts.has(widget.name) && !isLinked(node, widget.name));
        setHidden(likeness.widget, !takes || isLinked(node, "tolerance"));
        if (values.preset !== "paper") state.about = "";
        else tellPaper();
        for (const tell of state.changed) tell();
    }

    /** Paper has nothing to set: the panel says what it is. */
    async function tellPaper() {
        if (!node.graph) return;
        const place = { node: executionId(node), system: systemOf(node), workflow: node.graph.rootGraph?.id ?? "" };
        const model = await describe(place).catch(() => null);
        if (valueOf(node, "preset") !== "paper") return;
        const { cycle, fresh_ratio: ratio } = model?.published ?? {};
        state.about = cycle ? t("paper.known", { cycle, percent: Math.round(100 * ratio) }) : t("paper.unknown");
        for (const tell of state.changed) tell();
    }

    const show = () => refit(node, choose);

    for (const widget of own) if (usual.has(widget.name)) chain(widget, "callback", () => show());
    chain(node, "onConnectionsChange", () => { if (node.graph) show(); });
    chain(node, "onAdded", () => { if (valueOf(node, "preset") === "paper") tellPaper(); });
    chain(node, "onConfigure", ({ properties }) => {
        choose();
        if (!properties?.[LAYOUT]) refit.exactly(node);
        node.properties[LAYOUT] = 1;
    });
    node.properties[LAYOUT] = 1;
    attachPresets(node, show);
    refit.exactly(node);
}
