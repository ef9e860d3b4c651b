/** ToCa Cache: of its widgets those that count are on the node, in both of the host's renderers; the others keep their values. */
import { app } from "../../../scripts/app.js";
import { chain, isLinked, refit, setHidden, valueOf } from "../graph.js";
import { addLikeness } from "./likeness.js";
import { counting, takesTolerance } from "./shown.js";

const LAYOUT = "toca_layout";           // a property of nodes that were saved with their size of now; older ones are taller than they need be
const DECIDE = ["preset", "level", "tolerance", "stale_tokens"];

export const cache = {
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
        open: false,                                                                // whether what is rare is shown too
        hidden: () => state.folded.filter((name) => !state.open && isUsual(name)).length,
        toggle() { state.open = !state.open; show(); },
        folded: [],
        changed: new Set(),                                                         // to be told when the widgets have changed
    };
    const isUsual = (name) => valueOf(node, name) === usual.get(name) && !isLinked(node, name);
    node.tocaSettings = state;

    function choose() {
        const values = Object.fromEntries(DECIDE.map((name) => [name, valueOf(node, name)]));
        const { always, folded } = counting(values);
        const isOpen = state.open || app.extensionManager.setting.get("Comfy.Node.AlwaysShowAdvancedWidgets");
        const counts = new Set([...always, ...folded.filter((name) => isOpen || !isUsual(name))]);
        if (takesTolerance(values)) likeness.sync(values);
        if (!likeness.isOwn() || !takesTolerance(values)) counts.delete("tolerance");
        state.folded = folded.filter((name) => usual.has(name));
        for (const widget of own) setHidden(widget, !counts.has(widget.name) && !isLinked(node, widget.name));
        setHidden(likeness.widget, !takesTolerance(values) || isLinked(node, "tolerance"));
        for (const tell of state.changed) tell();
    }

    const show = () => refit(node, choose);

    for (const widget of own) if (usual.has(widget.name)) chain(widget, "callback", () => show());
    chain(node, "onConnectionsChange", () => { if (node.graph) show(); });
    chain(node, "onConfigure", ({ properties }) => {
        choose();
        if (!properties?.[LAYOUT]) refit.exactly(node);
        node.properties[LAYOUT] = 1;
    });
    node.properties[LAYOUT] = 1;
    choose();
    refit.exactly(node);
}
