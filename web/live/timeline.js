/** What a run looks like: data in, SVG and words out. */
import { size } from "../ratios/chart.js";
import { ended, sentences } from "../notes.js";
import { t } from "../words.js";

export const COLOURS = { full: "#0072B2", partial: "#E69F00", plain: "#888A8E", other: "#CC79A7" };      // of Okabe and Ito, and a grey
const HEIGHTS = { full: 1, plain: 1, partial: 0.3, other: 0.6 };                    // kinds are told apart without colour too
const AHEAD = 0.06;
const LIKENESS = [[0.12, "picture.hard"], [0.25, "picture.same"], [0.5, "picture.small"], [Infinity, "picture.details"]];   // by tolerance

/** The run that a `toca.step` message tells: {steps: [{kind, error}], total, seconds, saved, speedup, bytes, note, settings, ...}; error is
 * null where none was measured, or none that is finite. */
export function stepped(message) {
    return { ...told(message), total: message.total, done: false };
}

/** The run that a `toca.report` message tells, from its first step to its last. */
export function reported(message) {
    return { ...told(message), total: message.steps.length, done: true };
}

function told({ node, run: number, steps, seconds, estimated_seconds_saved: saved, flops_speedup: speedup, cache_bytes: bytes, note, preset,
    settings, why_level: why }) {
    return { node, number, steps: steps.map(({ kind, error }) => ({ kind, error })), seconds, saved, speedup, bytes, note, preset, why,
        level: settings.level, tolerance: settings.tolerance };
}

/** Bars for the steps, faint ones for those to come, dots for the errors on a scale of their own; one wide per step and one high. */
export function drawing({ steps, total }) {
    const count = Math.max(total, steps.length, 1);
    const most = Math.max(...steps.map(({ error }) => error ?? 0));
    const bars = Array.from({ length: count }, (_, index) => bar(steps[index]?.kind, index));
    const dots = steps.map(({ error }, index) => (error == null || !most ? "" : dot((index + 0.5) / count, 1 - error / most)));
    const plot = `<svg class="bars" viewBox="0 0 ${count} 1" preserveAspectRatio="none">${bars.join("")}</svg>`;
    return `${plot}<svg class="dots" aria-hidden="true">${dots.join("")}</svg>`;
}

function bar(kind, index) {
    const height = HEIGHTS[kind] ?? AHEAD;
    const place = `x="${index + 0.08}" y="${1 - height}" width="0.84" height="${height}"`;
    return `<rect class="${kind ?? "ahead"}" ${place} fill="${COLOURS[kind] ?? ""}"/>`;
}

function dot(x, y) {
    return `<circle cx="${(100 * x).toFixed(2)}%" cy="${(8 + 84 * y).toFixed(2)}%" r="2.5"/>`;
}

export const countOf = ({ steps }, kind) => steps.filter((step) => step.kind === kind).length;

/** What is in the drawing: [kind, how many, in words]. */
export function legend(run) {
    const partial = run.level === "module" ? "kind.part" : "kind.forecast";
    const words = { full: "kind.full", partial, plain: "kind.plain", other: "kind.other" };
    const kinds = Object.keys(COLOURS).map((kind) => [kind, countOf(run, kind), t(words[kind])]).filter(([, count]) => count);
    return run.steps.some(({ error }) => error != null) ? [...kinds, ["error", "", t("kind.error")]] : kinds;
}

/** Of a run the time first: what it took and what it would have taken. */
export function headline({ steps, total, seconds, saved, done }, end) {
    const gain = saved > 0.02 * seconds ? saved : 0;
    if (!done) {
        const progress = t("run.step", { done: steps.length, total: Math.max(total, steps.length) });
        return gain ? `${progress} \u00b7 ${t("run.soFar", { saved: duration(gain) })}` : progress;
    }
    if (end === "error" || end === "interrupted") return t("run.ended", { done: steps.length, took: duration(seconds) });
    if (!gain) return t("run.took", { took: duration(seconds), steps: steps.length });
    return t("run.instead", { took: duration(seconds), plain: duration(seconds + gain), times: ((seconds + gain) / seconds).toFixed(1) });
}

/** What it means for the picture, at which level, and all that its user should know, in sentences. */
export function remarks(run, count) {
    const { note, level, tolerance, done, preset } = run;
    const skipped = countOf(run, "partial") > 0;
    const picture = tolerance != null && skipped ? t(LIKENESS.find(([most]) => tolerance <= most)[1]) : "";
    const chosen = level && skipped ? t(preset === "auto" ? "level.chosen" : "level.set", { level: t(`level.${level}`) }) : "";
    const none = done && !skipped && !note ? t("run.none") : "";
    const number = count > 1 ? t("run.number", { count }) : "";
    return [number, picture, note ? sentences(note) : none, chosen].filter(Boolean).map(ended).join(" ");
}

/** The numbers, for who wants them. */
export function figures({ steps, speedup, bytes, why, level, tolerance }) {
    const errors = steps.map(({ error }) => error).filter((error) => error != null).sort((one, other) => one - other);
    const [median, most] = errors.length ? [errors[Math.floor(errors.length / 2)], errors.at(-1)].map(percent) : [];
    return [
        t("figures.work", { times: speedup.toFixed(2) }), t("figures.cache", { size: size(bytes) }),
        median && t("figures.errors", { median, most }), tolerance != null && t("figures.tolerance", { tolerance }),
        why && t("figures.level", { level, why: sentences(why) }),
    ].filter(Boolean).join("\n");
}

const percent = (value) => `${Number(value.toPrecision(2))}%`;

export function duration(seconds) {
    if (seconds >= 60) return t("time.minutes", { minutes: Math.floor(seconds / 60), seconds: Math.round(seconds % 60) });
    return t("time.seconds", { seconds: seconds < 10 ? seconds.toFixed(1) : Math.round(seconds) });
}
