/** Which widgets of ToCa Cache count, by its preset and level: those are shown. Data in, names out. */

const FIRST = ["enable", "preset"];
const BUDGET = ["calls", "speed", "refine"];
const OF_AUTO = ["tolerance", ...BUDGET];
const OF_LEVEL = {
    module: ["fresh_ratio", "cycle", "mlp_share", "cross_attn_share", "layer_slope", "score", "stale_tokens"],
    stack: ["cycle", "tolerance", "calls", "speed"],
    output: ["cycle", ...OF_AUTO],
};
// What few people change: folded away, unless it is not as it comes.
const FOLDED = ["start_percent", "end_percent", "verbose", "memory_budget", "cache_device", "cache_dtype"];
const FOLDED_OF_LEVEL = {
    module: ["step_slope", "cycle_rule", "warmup_steps", "staleness_weight", "spread_bonus", "spread_cell", "block_ratios",
        "parallel_mlp_share", "cross_attn_cycle", "mlp_cycle", "order"],
    stack: ["cycle_rule", "warmup_steps", "order"],
    output: ["cycle_rule", "warmup_steps", "order"],
};

/** Whether whole steps are forecast by the error measured, so that a tolerance counts. saved: of a saved preset its settings, or null. */
export function takesTolerance({ preset, level }, saved = null) {
    if (preset === "custom") return level !== "module";
    return preset === "auto" || (preset !== "paper" && preset !== "quality" && saved?.level !== undefined && saved.level !== "module");
}

/** -> {always, folded}: names of the widgets that count with these values {preset, level, tolerance, stale_tokens}. */
export function counting(values, saved = null) {
    const { preset, level, tolerance, stale_tokens: stale } = values;
    if (preset === "quality") return { always: [...FIRST, ...BUDGET], folded: FOLDED };
    if (preset !== "custom") return { always: [...FIRST, ...(takesTolerance(values, saved) ? OF_AUTO : [])], folded: FOLDED };
    const isModule = !(level in OF_LEVEL) || level === "module";
    const [mine, rare] = [OF_LEVEL, FOLDED_OF_LEVEL].map((table) => table[isModule ? "module" : level]);
    const spared = isModule ? (stale === "forecast" ? [] : ["order"]) : tolerance >= 0 ? ["cycle", "cycle_rule"] : [];
    const left = (names) => names.filter((name) => !spared.includes(name));
    return { always: [...FIRST, "level", ...left(mine)], folded: [...left(rare), ...FOLDED] };
}
