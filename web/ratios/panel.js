/** The chart over the blocks, its buttons and the cost of a run: DOM, pointer and keys. What it shows is stored in a text widget. */
import { cost, drawing, label, reading, seriesOf, weight } from "./chart.js";
import { SHAPES, clamp, paint, raise, rounded, tilt, trend } from "./series.js";
import { Latest, describe, predict } from "./server.js";
import { parse, withRatios } from "./text.js";
import { sentences } from "../notes.js";
import { t } from "../words.js";

const PRESETS = ["paper", "flat", "start", "end"];
const KEYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 0.01], ArrowDown: [0, -0.01], PageUp: [0, 0.1], PageDown: [0, -0.1],
    Home: [-Infinity, 0], End: [Infinity, 0] };

export class RatioPanel {
    /**
     * source: where it gets and puts things
     *   text(), write(text)    the stored ratios
     *   place()                {node, system, workflow} of the ToCa Cache it belongs to, as the server knows them
     *   widgets()              the values of that node
     *   ratios()               the text of a ToCa Ratios node, null where the chart is the cache's own
     *   remark()               why the ratios do not count, or ""
     *   use()                  sets that ToCa Cache so that they count; without it, it cannot be set from here
     *   isOpen(), open(yes)    whether the chart is shown; without them it always is
     */
    constructor(source) {
        this.source = source;
        this.modules = [];
        this.isKnown = false;
        this.paper = this.ratios = this.answer = {};
        this.chosen = "";
        this.block = this.other = 0;            // from one to the other is a group, which is moved together
        this.cost = new Latest((signal) => this.ask(signal), (answer) => this.told(answer));
        this.model = new Latest((signal) => describe(source.place(), signal), (model) => this.met(model));
        this.root = this.build();
    }

    build() {
        this.toggle = element("button", { class: "open", type: "button" });
        this.tabs = element("div", { class: "row", role: "radiogroup", "aria-label": t("chart.module") });
        this.plot = element("div", { class: "plot", tabindex: 0, role: "slider", "aria-valuemin": 0, "aria-valuemax": 1 });
        this.drawn = element("div", { style: "height: 100%" });
        this.handles = ["first", "last"].map((end) => element("div", { class: "handle", tabindex: 0, role: "slider", "aria-valuemin": 0,
            "aria-valuemax": 1, title: t("chart.tilt"), "aria-label": t(`chart.slope.${end}`, { name: "" }) }));
        this.plot.append(this.drawn);
        this.scale = element("div", { class: "scale" }, this.plot, ...this.handles, ...[0, 0.5, 1].map((value) =>
            element("span", { style: `top: ${100 * (1 - value)}%` }, String(value))));
        this.read = element("div", { class: "words" });
        const shapes = PRESETS.map((name) => this.button(t(`chart.${name}`), t(`chart.${name}.title`), () => this.preset(name)));
        this.words = [element("div", { class: "words" }), element("div", { class: "words small" })];
        this.unused = element("div", { class: "row" }, element("span", { class: "why" }),
            this.button(t("chart.use"), t("chart.use.title"), () => this.source.use()));
        this.body = element("div", { class: "body" }, this.tabs, this.scale, this.read,
            element("div", { class: "row" }, ...shapes), this.unused, ...this.words);
        this.listen();
        return element("div", { class: "toca-ratios" }, this.toggle, this.body);
    }

    listen() {
        this.plot.addEventListener("pointerdown", (event) => this.stroke(event));
        this.plot.addEventListener("mousedown", (event) => {       // or Shift selects text, which the next press would drag away
            event.preventDefault();
            this.plot.focus({ preventScroll: true });
        });
        this.plot.addEventListener("keydown", (event) => this.key(event));
        this.handles.forEach((handle, end) => {
            handle.addEventListener("pointerdown", (event) => this.slope(event, end));
            handle.addEventListener("keydown", (event) => this.slopeKey(event, end));
        });
        this.toggle.addEventListener("click", () => {
            this.source.open(!this.source.isOpen());
            this.refresh();
        });
    }

    button(words, title, act) {
        const button = element("button", { type: "button", title }, words);
        button.addEventListener("click", act);
        return button;
    }

    /** Nothing more is asked for; its listeners are on elements of its own, and go with them. */
    stop() {
        this.cost.cancel();
        this.model.cancel();
    }

    // ---- what is known ----

    /** Something around the node has changed: its text, the widgets of its cache, a link. */
    refresh() {
        this.draw();
        this.model.request();
    }

    met(model) {
        if (!model?.modules) return;
        Object.assign(this, { modules: model.modules, paper: model.paper, isKnown: model.known });
        this.cost.request();
    }

    async ask(signal) {
        const { source } = this;
        const text = source.text();
        const { error } = parse(text);
        if (error) return { text, error };
        const question = { ...source.place(), widgets: source.widgets(), ratios: source.ratios() };
        return { text, ...(await predict(question, signal)) };
    }

    told(answer) {
        if (answer.text !== undefined && answer.text !== this.source.text()) return this.cost.request();
        this.answer = answer;
        if (answer.ratios) this.ratios = this.isKnown ? answer.ratios : this.asManyAsBefore(answer.ratios);
        return this.draw();
    }

    /** Of a model that has not run yet the lists in the text say how many blocks it has, also once one number stands for a list. */
    asManyAsBefore(ratios) {
        const { lines } = parse(this.source.text());
        return Object.fromEntries(Object.entries(ratios).map(([name, values]) => {
            const blocks = this.ratios[name]?.length;
            return [name, blocks && lines.get(name)?.length === 1 ? Array(blocks).fill(values[0]) : values];
        }));
    }

    get shown() {
        return this.series.find(({ name }) => name === this.chosen);
    }

    /** [first, last]: the blocks of the group, or twice the one block that is marked. */
    get marked() {
        return [Math.min(this.block, this.other), Math.max(this.block, this.other)];
    }

    // ---- changes ----

    /** Other ratios of the chosen module: they are stored, drawn at once, and their cost is asked for. */
    change(ratios, name = this.chosen) {
        this.ratios = { ...this.ratios, [name]: ratios };
        this.source.write(withRatios(this.source.text(), name, ratios));
        this.draw();
        this.cost.request();
    }

    preset(name) {
        if (!this.shown || this.broken) return;
        if (name !== "paper") return this.change(SHAPES[name](this.shown.ratios));
        for (const { name } of this.series) this.change(this.paper[name], name);
        return undefined;
    }

    stroke(event) {
        if (event.button !== 0 || !this.shown || this.broken) return;
        let last = this.point(event);
        const [first, end] = this.marked;
        if (event.shiftKey) return this.mark(event, last.block);
        if (first !== end && last.block >= first && last.block <= end) return this.lift(event, last.value);
        const go = (moved) => {
            const next = this.point(moved);
            this.block = this.other = next.block;
            this.change(paint(this.shown.ratios, last, next));
            last = next;
        };
        this.drag(event, this.plot, go);
        return go(event);
    }

    /** The blocks from one to the next become a group. */
    mark(event, from) {
        const go = (moved) => {
            [this.other, this.block] = [from, this.point(moved).block];
            this.draw();
        };
        this.drag(event, this.plot, go);
        go(event);
    }

    /** All blocks of the group move by as much as the pointer. */
    lift(event, from) {
        const { marked, shown: { ratios } } = this;
        this.drag(event, this.plot, (moved) => this.change(raise(ratios, marked, this.point(moved).value - from)));
    }

    slope(event, end) {
        if (event.button !== 0 || !this.shown || this.broken) return;
        const from = this.point(event).value;
        const { ratios } = this.shown;
        this.drag(event, this.handles[end], (moved) => this.change(tilt(ratios, (this.point(moved).value - from) * (end ? -1 : 1))));
    }

    /** Calls go(event) for every move until the button is let go. */
    drag(event, target, go) {
        const ended = new AbortController();
        const options = { signal: ended.signal };
        target.setPointerCapture(event.pointerId);
        target.addEventListener("pointermove", go, options);
        for (const type of ["pointerup", "pointercancel", "lostpointercapture"]) {
            target.addEventListener(type, () => ended.abort(), options);
        }
    }

    /** Which block and which value a pointer is at, whatever the zoom. */
    point(event) {
        const box = this.plot.getBoundingClientRect();
        const count = this.shown.ratios.length;
        const block = Math.floor(((event.clientX - box.left) / box.width) * count);
        return { block: Math.min(count - 1, Math.max(0, block)), value: rounded(1 - (event.clientY - box.top) / box.height) };
    }

    key(event) {
        const [along, up] = KEYS[event.key] ?? [];
        if (event.key === "Escape" && this.block !== this.other) {
            this.other = this.block;
            held(event);
            return this.draw();
        }
        if (along === undefined || !this.shown || this.broken || event.ctrlKey || event.metaKey || event.altKey) return;
        held(event);
        const { ratios } = this.shown;
        this.block = Math.min(ratios.length - 1, Math.max(0, this.block + along));
        if (up) return this.change(raise(ratios, this.marked, up));
        if (!event.shiftKey) this.other = this.block;
        return this.draw();
    }

    slopeKey(event, end) {
        const up = KEYS[event.key]?.[1];
        if (!up || !this.shown || this.broken) return;
        held(event);
        this.change(tilt(this.shown.ratios, end ? -up : up));
    }

    // ---- drawing ----

    draw() {
        const { source } = this;
        const isOpen = source.isOpen?.() ?? true;
        this.broken = parse(source.text()).error;
        this.series = seriesOf(this.modules, this.ratios);
        if (!this.shown && this.series.length) this.chosen = this.series[0].name;
        this.root.classList.toggle("closed", !isOpen);
        this.root.classList.toggle("idle", Boolean(this.broken));
        this.toggle.hidden = !source.isOpen;
        this.body.hidden = !isOpen || !this.shown;
        const [first, second] = this.answer.flops === undefined ? ["", ""] : cost(this.answer);
        this.toggle.textContent = `${isOpen ? "\u25be" : "\u25b8"} ${t("chart.open")}${isOpen || !first ? "" : `: ${first}`}`;
        this.toggle.setAttribute("aria-expanded", isOpen);
        if (this.shown) this.drawShown();
        this.say(first, second);
    }

    drawShown() {
        const { shown } = this;
        [this.block, this.other] = [this.block, this.other].map((block) => Math.min(block, shown.ratios.length - 1));
        this.drawTabs();
        this.drawn.innerHTML = drawing(this.series, this.chosen, this.marked);
        this.read.textContent = reading(shown, this.marked);
        describeSlider(this.plot, t("chart.fresh", { name: shown.name }), shown.ratios[this.block], this.read.textContent);
        trend(shown.ratios).forEach((value, end) => {
            const { style } = this.handles[end];
            [style.left, style.top] = [`${100 * end}%`, `${100 * (1 - clamp(value))}%`];
            describeSlider(this.handles[end], t(`chart.slope.${end ? "last" : "first"}`, { name: shown.name }), value, value.toFixed(2));
        });
    }

    drawTabs() {
        const names = this.series.map(({ name }) => name).join();
        if (this.tabs.dataset.names !== names) {
            this.tabs.dataset.names = names;
            this.tabs.replaceChildren(...this.series.map(({ name, colour }) => {
                const tab = this.button("", "", () => {
                    this.chosen = name;
                    this.draw();
                });
                tab.setAttribute("role", "radio");
                tab.append(element("span", { class: "swatch", style: `background: ${colour}` }), element("span"));
                return tab;
            }), element("span", { class: "small" }, t("chart.self")));
        }
        this.series.forEach((one, index) => {
            const tab = this.tabs.children[index];
            tab.setAttribute("aria-checked", one.name === this.chosen);
            tab.lastChild.textContent = label(one);
            tab.title = t("chart.tab", { weight: weight(one) });
        });
    }

    say(first, second) {
        const wrong = this.broken || this.answer.error;
        const unused = this.source.remark();
        this.root.classList.toggle("unused", Boolean(unused));
        this.unused.hidden = !unused;
        this.unused.firstChild.textContent = unused;
        this.unused.lastChild.hidden = !this.source.use;
        const remarks = [...(unused ? [] : this.answer.remarks ?? []).map(sentences), second].filter(Boolean);
        const lines = wrong ? [wrong, ""] : [first, remarks.join(". ")];
        lines.forEach((words, index) => {
            this.words[index].textContent = this.words[index].title = words;
            this.words[index].classList.toggle("error", Boolean(wrong));
        });
    }
}

function element(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
}

function describeSlider(slider, name, value, words) {
    slider.setAttribute("aria-label", name);
    slider.setAttribute("aria-valuenow", value.toFixed(2));
    slider.setAttribute("aria-valuetext", words);
}

/** The editor's own shortcuts do not get a key that was used here. */
function held(event) {
    event.preventDefault();
    event.stopPropagation();
}
