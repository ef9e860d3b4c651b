/** Two pictures on top of each other, the second one uncovered from a line on that follows the pointer or the arrow keys. */

import { t } from "../words.js";

const IDENTICAL = 99;               // dB, as ToCa Compare counts an identical picture
const SMALL = 256;                  // pixels below which a picture is enlarged in squares
const STEP = 5;                     // percent per press of an arrow key
const STYLES = {
    root: "display:flex; flex-direction:column; gap:4px; height:100%; font:12px sans-serif; color:var(--fg-color, #ddd)",
    stage: "position:relative; flex:1; min-height:0; overflow:hidden; cursor:ew-resize; touch-action:none; border-radius:4px; "
        + "background:var(--comfy-input-bg, #222)",
    image: "position:absolute; inset:0; width:100%; height:100%; object-fit:contain; user-select:none; visibility:hidden",
    line: "position:absolute; top:0; bottom:0; width:2px; margin-left:-1px; background:#fff; box-shadow:0 0 2px #000",
    label: "position:absolute; top:4px; padding:1px 5px; border-radius:3px; color:#fff; background:rgb(0 0 0 / 60%); pointer-events:none",
    bar: "display:flex; align-items:center; justify-content:center; gap:6px; min-height:22px",
    button: "min-width:24px; line-height:18px; border:1px solid var(--border-color, #666); border-radius:3px; cursor:pointer; "
        + "color:inherit; background:var(--comfy-input-bg, #222)",
};

/** labels(): what the two sides are called. -> {element, show(pairs), remove()} */
export function compareView(labels) {
    const [before, after] = [1, 2].map(() => made("img", "image", { draggable: false, alt: "" }));
    const line = made("div", "line");
    const [left, right] = ["left", "right"].map((side) => made("span", "label", {}, `${side}:4px`));
    const stage = made("div", "stage", { tabIndex: 0, role: "slider", ariaValueMin: 0, ariaValueMax: 100 });
    stage.append(before, after, line, left, right);
    const caption = made("span", "");
    const [back, forth] = [["‹", -1, t("compare.previous")], ["›", 1, t("compare.next")]].map(([textContent, by, title]) =>
        made("button", "button", { textContent, title, type: "button", onclick: () => turn(by) }));
    const bar = made("div", "bar");
    bar.append(back, caption, forth);
    const element = made("div", "root", { className: "toca-compare" });
    element.append(stage, bar);

    let [shown, index, place] = [[], 0, 50];

    function turn(by) {
        index = (index + by + shown.length) % shown.length;
        draw();
    }

    function move(percent) {
        place = Math.min(100, Math.max(0, percent));
        draw();
    }

    function draw() {
        const pair = shown[index];
        [left.textContent, right.textContent] = labels();
        stage.ariaLabel = labels().join(" | ");
        stage.ariaValueNow = Math.round(place);
        line.style.left = `${place}%`;
        after.style.clipPath = `inset(0 0 0 ${place}%)`;
        for (const button of [back, forth]) button.hidden = shown.length < 2;
        caption.textContent = pair ? captionOf(pair, index, shown.length) : "";
        put(before, pair?.before);
        put(after, pair?.after);
    }

    stage.onpointermove = (event) => {
        const box = stage.getBoundingClientRect();
        move(100 * (event.clientX - box.left) / box.width);
    };
    stage.onpointerdown = (event) => event.stopPropagation();       // or the node would be dragged along
    stage.onkeydown = (event) => {
        const by = { ArrowLeft: -STEP, ArrowRight: STEP }[event.key];
        if (!by) return;
        event.preventDefault();
        event.stopPropagation();
        move(place + by);
    };
    before.onload = after.onload = ({ target }) => {
        target.style.visibility = "visible";
        target.style.imageRendering = target.naturalWidth < SMALL ? "pixelated" : "auto";
    };
    draw();

    return {
        element,
        show(pairs) {
            [shown, index] = [pairs, Math.min(index, Math.max(0, pairs.length - 1))];
            draw();
        },
        remove: () => element.remove(),
    };
}

/** One line on a pair: which of how many it is, and how alike its pictures are; null for figures of pictures that are not finite. */
export function captionOf({ picture, psnr, ssim }, index, count) {
    const alike = psnr == null ? t("compare.broken") : psnr >= IDENTICAL ? t("compare.identical") : `${psnr.toFixed(2)} dB`;
    const similar = ssim == null ? "" : `SSIM ${ssim.toFixed(4)}`;
    return [count > 1 ? `${index + 1}/${count}` : "", picture !== index + 1 ? `#${picture}` : "", alike, similar]
        .filter(Boolean).join("  ·  ");
}

function put(image, address) {
    if (address === undefined) {
        image.removeAttribute("src");
        image.style.visibility = "hidden";
    } else if (image.getAttribute("src") !== address) image.src = address;
}

function made(tag, style, properties = {}, more = "") {
    const element = Object.assign(document.createElement(tag), properties);
    element.style.cssText = `${STYLES[style] ?? ""}; ${more}`;
    return element;
}
