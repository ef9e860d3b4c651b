/** Drawing: data in, SVG or words out. */
import { sentences } from "../notes.js";
import { t } from "../words.js";
import { mean } from "./series.js";

const COLOURS = ["#E69F00", "#56B4E9", "#009E73", "#CC79A7"];          // told apart by colour-blind readers (Okabe and Ito)
const DASHES = ["none", "5 3", "1 3", "8 3 1 3"];                      // and without colour
// Which of them a module has, whatever model it is in and whichever others are shown.
const LOOKS = { cross_attn: 0, mlp: 1, "spatial.cross_attn": 0, "spatial.mlp": 1, "temporal.mlp": 2, "temporal.cross_attn": 3,
    "double.img_mlp": 1, "double.txt_mlp": 2, "single.mlp": 3, img_mlp: 1, txt_mlp: 2 };

/** The series of a chart: every module that is recomputed in part, with its ratios, colour and pattern. */
export function seriesOf(modules, ratios) {
    return modules
        .filter(({ kind, name }) => kind !== "self_attn" && ratios[name]?.length)
        .map(({ name, share }) => ({ name, share, ratios: ratios[name], colour: COLOURS[lookOf(name)], dash: DASHES[lookOf(name)] }));
}

function lookOf(name) {
    return LOOKS[name] ?? [...name].reduce((sum, letter) => sum + letter.codePointAt(0), 0) % COLOURS.length;
}

/** Bars for the chosen series, lines for the others; one unit wide per block and one high, y downwards. marked: [first, last] block. */
export function drawing(series, chosen, marked) {
    const shown = series.find(({ name }) => name === chosen);
    const width = shown.ratios.length;
    const lines = series.filter((other) => other !== shown).map((other) => line(other, width));
    const bars = shown.ratios.map((ratio, index) => bar(ratio, index, shown.colour, index >= marked[0] && index <= marked[1]));
    const grid = [0.25, 0.5, 0.75].map((y) => `<line class="grid" x1="0" x2="${width}" y1="${y}" y2="${y}"/>`);
    return `<svg viewBox="0 0 ${width} 1" preserveAspectRatio="none" aria-hidden="true">${[...grid, ...bars, ...lines].join("")}</svg>`;
}

function bar(ratio, index, colour, marked) {
    const room = `<rect class="room${marked ? " marked" : ""}" x="${index}" y="0" width="1" height="1"/>`;
    return `${room}<rect class="bar" x="${index + 0.1}" y="${1 - ratio}" width="0.8" height="${ratio}" fill="${colour}"/>`;
}

function line({ ratios, colour, dash }, width) {
    const points = ratios.map((ratio, index) => `${((index + 0.5) * width) / ratios.length},${1 - ratio}`);
    if (ratios.length === 1) points.push(`${width},${1 - ratios[0]}`);
    return `<polyline class="line" points="${points.join(" ")}" stroke="${colour}" stroke-dasharray="${dash}"/>`;
}

export const label = ({ name, ratios }) => `${name} ${mean(ratios).toFixed(2)}`;

/** How much a module matters for the cost; share is null where the model is not known yet. */
export const weight = ({ name, share }) => (share == null ? name : t("chart.weight", { name, percent: Math.round(100 * share) }));

/** What the marked block has, or on average the marked group, in words. */
export function reading({ name, ratios }, [first, last]) {
    if (first !== last) {
        const ratio = mean(ratios.slice(first, last + 1)).toFixed(2);
        return t("chart.group", { name, first: first + 1, last: last + 1, blocks: ratios.length, ratio });
    }
    return t("chart.reading", { name, block: first + 1, blocks: ratios.length, ratio: ratios[first].toFixed(2) });
}

/** The cost of a run as two lines: what it is, and what for. */
export function cost({ speedup, flops, plain_flops: plain, cache_bytes: bytes, steps, full, work, note }) {
    const of = [steps && t(full === null ? "cost.steps" : "cost.full", { steps, full }), sentences(work)].filter(Boolean).join(", ");
    if (flops === null) return [sentences(note), of];
    const what = t("cost.work", { times: speedup.toFixed(2), flops: count(flops), plain: count(plain), size: size(bytes) });
    return [what, [of, sentences(note)].filter(Boolean).join(". ")];
}

export function count(flops) {
    const [unit, prefix] = [[1e15, "P"], [1e12, "T"], [1e9, "G"], [1e6, "M"]].find(([unit]) => flops >= unit) ?? [1, ""];
    return `${(flops / unit).toPrecision(3)} ${prefix}`.trim();
}

export function size(bytes) {
    const [unit, name] = [[2 ** 30, "GB"], [2 ** 20, "MB"], [2 ** 10, "KB"]].find(([unit]) => bytes >= unit) ?? [1, "bytes"];
    return `${(bytes / unit).toFixed(unit > 1 ? 1 : 0)} ${name}`;
}
