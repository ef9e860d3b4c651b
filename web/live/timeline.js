/** What a run looks like: data in, SVG and words out. */
import { size } from "../ratios/chart.js";

export const COLOURS = { full: "#0072B2", partial: "#E69F00", plain: "#888A8E", other: "#CC79A7" };      // of Okabe and Ito, and a grey
const HEIGHTS = { full: 1, plain: 1, partial: 0.3, other: 0.6 };                    // kinds are told apart without colour too
const AHEAD = 0.06;

/** No run yet. A run: {node, run, steps: [{kind, error: null where none was measured, or none that is finite}], total, speedup, bytes, note, level, done}. */
export const NOTHING = null;

/** The run after a `toca.step` message; another run's, or a step that comes again, begins anew. */
export function stepped(run, { node, run: number, index, total, kind, error, flops_speedup: speedup, bytes, note, level }) {
    const goesOn = run && run.node === node && run.run === number && !run.done && index === run.steps.length;
    const steps = [...(goesOn ? run.steps : []), { kind, error }];
    return { node, run: number, steps, total, speedup, bytes, note, level, done: false };
}

/** The run that a `toca.report` message tells, from its first step to its last. */
export function reported({ node, run, steps, flops_speedup: speedup, cache_bytes: bytes, note, settings }) {
    const bars = steps.map(({ kind, error }) => ({ kind, error }));
    return { node, run, steps: bars, total: steps.length, speedup, bytes, note, level: settings.level, done: true };
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
    return `<rect class="${kind ?? "ahead"}" x="${index + 0.08}" y="${1 - height}" width="0.84" height="${height}" fill="${COLOURS[kind] ?? ""}"/>`;
}

function dot(x, y) {
    return `<circle cx="${(100 * x).toFixed(2)}%" cy="${(8 + 84 * y).toFixed(2)}%" r="2.5"/>`;
}

/** How far the run is, and what has been saved. */
export function figures({ steps, total, speedup, bytes, done }) {
    const errors = steps.map(({ error }) => error).filter((error) => error != null);
    const error = errors.length ? `error ${Number(errors.at(-1).toPrecision(2))}%` : "";
    const progress = done ? `${steps.length} steps` : `${steps.length} of ${Math.max(total, steps.length)}`;
    return [progress, speedup == null ? "" : `${speedup.toFixed(2)}x fewer FLOPs`, size(bytes), error].filter(Boolean).join(" · ");
}

/** How many steps of each kind there were, and at which level, or why nothing was cached. */
export function remark({ steps, note, level }) {
    const counts = Object.keys(COLOURS).map((kind) => [steps.filter((step) => step.kind === kind).length, kind]);
    const told = counts.filter(([count]) => count).map(([count, kind]) => `${count} ${kind}`).join(", ");
    return note || [told, level && `level ${level}`].filter(Boolean).join(" \u00b7 ");
}
