/** What a run will take where `calls` or `speed` says so, before it runs. */
import { effective, nearestAfter, valueOf } from "../graph.js";
import { t } from "../words.js";

const ONE_CALL = ["euler", "euler_cfg_pp", "euler_ancestral", "euler_ancestral_cfg_pp", "dpmpp_2m", "dpmpp_2m_cfg_pp", "dpmpp_2m_sde",
    "dpmpp_2m_sde_gpu", "dpmpp_3m_sde", "dpmpp_3m_sde_gpu", "lms", "ipndm", "ipndm_v", "deis", "res_multistep", "res_multistep_cfg_pp",
    "res_multistep_ancestral", "gradient_estimation", "er_sde", "uni_pc", "uni_pc_bh2", "lcm", "ddpm", "ddim"];

/** How many calls of the model a run of so many may take, as `toca_core/timeline.py` has it; undefined where nothing says. */
function allowed(calls, speed, total) {
    const counts = [calls, speed && total ? halfToEven(total / speed) : 0].filter(Boolean);
    return counts.length ? Math.max(1, Math.min(...counts)) : undefined;
}

/** As Python rounds. */
function halfToEven(number) {
    const below = Math.floor(number);
    return number - below === 0.5 ? below + (below % 2) : Math.round(number);
}

/** In words; "" where neither of the two is set, or where they do not count. */
export function budget(node) {
    if (effective(node, "calls")?.hidden) return "";
    const [calls, speed] = [valueOf(node, "calls"), valueOf(node, "speed")], total = callsOf(nearestAfter(node, saysSteps));
    const most = allowed(calls, speed, total);
    if (!most) return "";
    if (!total) return t("budget.most", { calls: most });
    const spent = Math.min(most, total);
    return t("budget.of", { calls: spent, total, times: (total / spent).toFixed(1) });
}

const saysSteps = (node) => Number.isFinite(valueOf(node, "steps"));

/** How often a sampler asks the model without a cache; 0 where that is not one call a step, or is not known. */
function callsOf(sampler) {
    if (!sampler || !ONE_CALL.includes(valueOf(sampler, "sampler_name") ?? "euler")) return 0;
    const steps = valueOf(sampler, "steps");
    const [start, end] = [valueOf(sampler, "start_at_step") ?? 0, valueOf(sampler, "end_at_step") ?? steps];
    return Math.max(0, Math.min(steps, end) - start);
}
