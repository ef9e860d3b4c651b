/**
 * The text of block ratios, which is all that is stored: one line per module, such as `mlp: 0.4, 0.3, 0.2`.
 * The server's parser (nodes/host/block_ratios.py) has the last word; this one is for the editor.
 */

import { t } from "../words.js";

/** "mlp: 0.4, 0.3" -> { lines: Map { "mlp" => [0.4, 0.3] }, error: "" }; error says what cannot be read. */
export function parse(text) {
    const lines = new Map();
    for (const line of String(text ?? "").split("\n").map((line) => line.trim()).filter(Boolean)) {
        const [, module, numbers] = /^(?:(.*):)?([^:]*)$/.exec(line);
        const name = module?.trim() || "mlp";
        const words = numbers.split(/[\s,]+/).filter(Boolean);
        const bad = words.find((word) => !(Number(word) >= 0 && Number(word) <= 1));
        if (bad !== undefined) return { lines, error: t("ratios.number", { name, bad }) };
        if (!words.length) return { lines, error: t("ratios.none", { name }) };
        if (lines.has(name)) return { lines, error: t("ratios.twice", { name }) };
        lines.set(name, words.map(Number));
    }
    return { lines, error: "" };
}

export function format(lines) {
    return [...lines].map(([name, ratios]) => `${name}: ${shortened(ratios).map(shown).join(", ")}`).join("\n");
}

/** The text with other ratios for one module; everything else stays. */
export function withRatios(text, name, ratios) {
    return format(parse(text).lines.set(name, ratios));
}

/** One number stands for all blocks. */
function shortened(ratios) {
    return ratios.every((ratio) => shown(ratio) === shown(ratios[0])) ? ratios.slice(0, 1) : ratios;
}

function shown(ratio) {
    return String(Number(ratio.toFixed(3)));
}
