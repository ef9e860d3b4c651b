/** The named scale of ToCa Cache's tolerance: a list beside the number, which is what is stored. */
import { t } from "../words.js";

const USUAL = 0.2;                                                      // percent, what -1 stands for with preset auto
const NAMED = [[0.05, "likeness.closest"], [0.1, "likeness.hard"], [0.4, "likeness.small"], [0.8, "likeness.details"]];

/** [tolerance, words] of every choice but a number of one's own, by preset. */
export function choices(preset) {
    const usual = preset === "auto" ? [-1, "likeness.same"] : [USUAL, "likeness.same"];
    const unset = { auto: [], custom: [[-1, "likeness.cycle"]] }[preset] ?? [[-1, "likeness.saved"]];
    return [...unset, ...NAMED.slice(0, 2), usual, ...NAMED.slice(2)].map(([tolerance, id]) => [tolerance, t(id)]);
}

/** The words for a tolerance, null for a number that has no name. */
export function wordsFor(tolerance, preset) {
    const same = preset === "auto" && Math.abs(tolerance - USUAL) < 1e-9 ? -1 : tolerance;
    return choices(preset).find(([value]) => Math.abs(value - same) < 1e-9 || (value < 0 && same < 0))?.[1] ?? null;
}

/** Adds the list to a node; sync({preset, tolerance}) makes it say what the number is; isOwn() tells whether the number is to be seen. */
export function addLikeness(node, changed) {
    let [asked, preset] = [false, "auto"];
    const number = node.widgets.find(({ name }) => name === "tolerance");
    const choose = (words) => {
        const chosen = choices(preset).find(([, other]) => other === words);
        asked = !chosen;
        number.value = chosen ? chosen[0] : number.value < 0 ? USUAL : number.value;
        number.callback?.(number.value);
        changed();
    };
    const widget = node.addWidget("combo", "likeness", "", choose, { values: [], serialize: false, hideInPanel: true });
    widget.serialize = false;
    widget.tooltip = t("likeness.tooltip");
    return {
        widget,
        isOwn: () => asked || wordsFor(number.value, preset) === null,
        sync(values) {
            if (values.preset !== preset) asked = false;
            preset = values.preset;
            widget.label = t("likeness");
            widget.options.values = [...choices(preset).map(([, words]) => words), t("likeness.own")];
            widget.value = (!asked && wordsFor(values.tolerance, preset)) || t("likeness.own");
        },
    };
}
