/** The panel's looks; colours come from the host's theme. */
export const HEIGHT = 264;
export const CLOSED = 24;

export const CSS = `
.toca-ratios { display: flex; flex-direction: column; gap: 3px; font: 12px/15px sans-serif; color: var(--input-text, #ddd);
    min-height: ${HEIGHT - 20}px; overflow: hidden; box-sizing: border-box; }
.toca-ratios .body { display: contents; }
.toca-ratios[hidden], .toca-ratios [hidden] { display: none !important; }
.toca-ratios.closed { min-height: ${CLOSED}px; height: ${CLOSED}px; }
.toca-ratios button { font: inherit; color: inherit; background: var(--comfy-input-bg, #222); border: 1px solid var(--border-color, #555);
    border-radius: 4px; padding: 1px 6px; cursor: pointer; white-space: nowrap; }
.toca-ratios button[aria-checked=true] { border-color: currentColor; font-weight: bold; }
.toca-ratios .open { text-align: left; overflow: hidden; text-overflow: ellipsis; min-height: 20px; }
.toca-ratios .row { display: flex; flex-wrap: wrap; gap: 3px; align-items: center; }
.toca-ratios .swatch { display: inline-block; width: 9px; height: 9px; border-radius: 2px; margin-right: 4px; }
.toca-ratios .scale { position: relative; flex: 1 1 96px; min-height: 96px; margin: 7px 8px 2px 26px; }
.toca-ratios .scale > span { position: absolute; right: calc(100% + 4px); transform: translateY(-50%); opacity: 0.75; }
.toca-ratios .plot { position: absolute; inset: 0; background: var(--comfy-menu-bg, #353535); cursor: crosshair; touch-action: none;
    border: 1px solid var(--border-color, #555); }
.toca-ratios .plot svg { display: block; width: 100%; height: 100%; pointer-events: none; }
.toca-ratios .grid { stroke: var(--border-color, #555); stroke-width: 1px; vector-effect: non-scaling-stroke; opacity: 0.5; }
.toca-ratios .room { fill: transparent; }
.toca-ratios .marked { fill: var(--input-text, #ddd); opacity: 0.15; }
.toca-ratios .bar { stroke: var(--input-text, #ddd); stroke-width: 1px; stroke-opacity: 0.6; vector-effect: non-scaling-stroke; }
.toca-ratios .line { fill: none; stroke-width: 2px; vector-effect: non-scaling-stroke; }
.toca-ratios .handle { position: absolute; width: 12px; height: 12px; margin: -6px; border-radius: 50%; cursor: ns-resize;
    touch-action: none; background: var(--input-text, #ddd); border: 2px solid var(--comfy-menu-bg, #333); box-sizing: border-box; }
.toca-ratios :is(.plot, .handle, button):focus-visible { outline: 2px solid #0072B2; outline-offset: 1px; }
.toca-ratios .words { overflow-wrap: anywhere; min-height: 15px; }
.toca-ratios .small { opacity: 0.8; }
.toca-ratios .error { color: var(--error-text, #ff4444); white-space: normal; }
.toca-ratios.unused .scale { opacity: 0.45; }
.toca-ratios .why { flex: 1 1 120px; }
.toca-ratios.idle .scale { opacity: 0.45; pointer-events: none; }
`;
