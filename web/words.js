/** Every word that the pack shows in the browser, in the host's language: those here are English, others are in locales/<language>/main.json. */
import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

const ENGLISH = {
    "likeness": "likeness",
    "likeness.same": "As fast as looks the same (0.2%)",
    "likeness.closest": "As close as can be (0.05%)",
    "likeness.hard": "Hard to tell apart (0.1%)",
    "likeness.small": "Faster, small differences (0.4%)",
    "likeness.details": "Fastest, details change (0.8%)",
    "likeness.own": "A number of your own",
    "likeness.cycle": "Not measured: by the fixed cycle",
    "likeness.saved": "As it was saved",
    "likeness.tooltip": "How like the picture without ToCa Cache it has to be: a name for what tolerance says, in percent of error.",
    "live.quiet": "Shows each step while sampling.",
    "more.show": "More settings",
    "more.hide": "Fewer settings",
};

let others = {};

/** Asks the host once for the other languages; without an answer everything is in English. */
export async function learnWords() {
    const response = await api.fetchApi("/i18n");
    if (response.ok) others = await response.json();
}

/** The text of an id, with what stands for its {names}. */
export function t(id, values = {}) {
    const language = String(app.extensionManager?.setting?.get("Comfy.Locale") ?? "en");
    const words = [language, language.split("-")[0]].map((name) => others[name]?.toca?.[id]).find(Boolean) ?? ENGLISH[id] ?? id;
    return words.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}
