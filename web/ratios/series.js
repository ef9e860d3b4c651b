/** What can be done to the ratios of one module, an array of shares in 0..1, one per block. Nothing is changed in place. */

export const clamp = (value) => Math.min(1, Math.max(0, value));
export const rounded = (value) => Math.round(clamp(value) * 100) / 100;
export const mean = (ratios) => ratios.reduce((sum, ratio) => sum + ratio, 0) / ratios.length;

/** From one point of a stroke to the next, each { block, value }: the blocks between lie on the line. */
export function paint(ratios, from, to) {
    const [first, last] = from.block <= to.block ? [from, to] : [to, from];
    const rise = (last.value - first.value) / Math.max(1, last.block - first.block);
    return ratios.map((ratio, block) => {
        if (block < first.block || block > last.block) return ratio;
        return rounded(block === to.block ? to.value : first.value + rise * (block - first.block));
    });
}

/** The blocks of a group, [first, last], rise by `change`, all alike. */
export function raise(ratios, [first, last], change) {
    return ratios.map((ratio, block) => (block < first || block > last ? ratio : rounded(ratio + change)));
}

/** The first block rises by `change`, the last falls by it, and those between in proportion. */
export function tilt(ratios, change) {
    return ratios.map((ratio, block) => rounded(ratio + change * (1 - 2 * along(ratios, block))));
}

/** The straight line of least squares through the ratios: its values at the first and at the last block. */
export function trend(ratios) {
    const centre = mean(ratios);
    const places = ratios.map((_, block) => 2 * along(ratios, block) - 1);
    const spread = places.reduce((sum, place) => sum + place * place, 0);
    const slope = spread ? places.reduce((sum, place, block) => sum + place * ratios[block], 0) / spread : 0;
    return [clamp(centre - slope), clamp(centre + slope)];
}

export const SHAPES = {
    flat: (ratios) => ratios.map(() => rounded(mean(ratios))),
    start: (ratios) => sloped(ratios, 0.6),
    end: (ratios) => sloped(ratios, -0.6),
};

function sloped(ratios, share) {
    return tilt(SHAPES.flat(ratios), share * mean(ratios));
}

/** Where a block lies between the first, 0, and the last, 1. */
function along(ratios, block) {
    return ratios.length > 1 ? block / (ratios.length - 1) : 0.5;
}
