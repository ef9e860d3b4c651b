/** ToCa Calibrate: what is to be reached as a choice and a number, which write the words of its target. */
import { api } from "../../../scripts/api.js";
import { addPanel, chain, executionId, isLinked, listenWhileInGraph, refit, setHidden, valueOf } from "../graph.js";
import { isOpen } from "../live/prompts.js";
import { duration } from "../live/timeline.js";
import { t } from "../words.js";

// goal: [as it is written, its number at first, the least and the most, places behind the point]
const GOALS = {
    speed: [(value) => `${value}x`, 2.5, 1.1, 99, 1],
    likeness: [(value) => `PSNR >= ${value}`, 35, 6, 98, 1],
    memory: [(value) => `within ${value} GB`, 6, 0.1, 1023, 1],
    calls: [(value) => `${value} calls`, 10, 1, 9999, 0],
};

/** -> [goal, number] of words that a choice writes; null for others. */
export function read(target) {
    const number = Number(String(target).match(/\d+(\.\d+)?/)?.[0]);
    const goal = Object.keys(GOALS).find((name) => GOALS[name][0](number) === String(target).trim());
    return goal ? [goal, number] : null;
}

export const calibrate = {
    setup() {
        document.head.append(Object.assign(document.createElement("style"), { textContent: CSS }));
    },

    nodeCreated(node) {
        if (node.comfyClass === "ToCaCalibrate") attach(node);
    },
};

const RUNS = 5;             // of each sampling, as a rule (nodes/host/calibrating.py)
const HEIGHT = 54, MARGIN = 6;
const CSS = `
.toca-calibrate { height: 100%; box-sizing: border-box; padding: 2px; overflow: hidden; font: 13px/16px sans-serif; color: var(--input-text, #ddd); }
`;

/** Says how long it will take: in runs before it, in time on the way. */
function attachTime(node) {
    const line = Object.assign(document.createElement("div"), { className: "toca-calibrate" });
    addPanel(node, "panel.time", line, { margin: MARGIN, getMinHeight: () => HEIGHT, getMaxHeight: () => HEIGHT });
    let began = null;
    const before = () => {
        began = null;
        line.textContent = t("calibrate.before", { runs: 1 + RUNS * (Number(valueOf(node, "effort")) || 1) });
    };
    const progress = ({ detail: { value, max, node: id, prompt_id: prompt } }) => {
        if (String(id) !== executionId(node) || !isOpen(prompt)) return;
        if (value >= max) { before(); return; }
        began ??= { at: performance.now(), value };
        const perCall = (performance.now() - began.at) / 1000 / Math.max(1, value - began.value);
        line.textContent = value > began.value ? t("calibrate.left", { left: duration(perCall * (max - value)) }) : t("calibrate.begun");
    };
    const ends = Object.fromEntries(["execution_success", "execution_error", "execution_interrupted"].map((type) => [type, before]));
    listenWhileInGraph(node, api, { progress, ...ends });
    chain(node.widgets.find(({ name }) => name === "effort"), "callback", before);
    chain(node, "onConfigure", before);
    before();
}

function attach(node) {
    attachGoal(node);
    attachTime(node);
    refit.exactly(node);
}

function attachGoal(node) {
    const target = node.widgets.find(({ name }) => name === "target");
    const words = (goal) => t(`goal.${goal}`);
    const write = (goal, value) => {
        const [written, , least, most, places] = GOALS[goal];
        target.value = written(Number(Math.min(most, Math.max(least, value)).toFixed(places)));
    };
    let own = false;                                                    // whether its user writes words of their own
    const choose = (chosen) => {
        const goal = Object.keys(GOALS).find((name) => words(name) === chosen);
        own = !goal;
        if (goal) write(goal, GOALS[goal][1]);
        show();
    };
    const options = { serialize: false, hideInPanel: true };
    const choice = node.addWidget("combo", "goal", "", choose, { ...options, values: [...Object.keys(GOALS), "own"].map(words) });
    const number = node.addWidget("number", "amount", 0, (value) => {
        const found = read(target.value);
        if (found) write(found[0], value);
        show();
    }, { ...options });
    for (const widget of [choice, number]) widget.serialize = false;

    function show() {
        const found = own ? null : read(target.value);
        const [goal, value] = found ?? ["own", 0];
        const [, , least, most, places] = GOALS[goal] ?? [];
        choice.label = t("goal");
        choice.value = words(goal);
        number.label = t(`amount.${goal}`);
        number.value = value;
        Object.assign(number.options, { min: least, max: most, precision: places, step2: places ? 0.5 : 1, step: places ? 5 : 10 });
        const linked = isLinked(node, "target");
        refit(node, () => {
            setHidden(target, Boolean(found) && !linked);
            setHidden(choice, linked);
            setHidden(number, !found || linked);
        });
    }

    chain(target, "callback", () => { own ||= !read(target.value); show(); });
    chain(node, "onConfigure", () => { own = false; show(); });
    chain(node, "onConnectionsChange", () => { if (node.graph) show(); });
    show();
}
