"""The released settings of the paper's systems (Shenyi-Z/ToCa), and which of them a run takes."""

from dataclasses import replace

from .config import ToCaConfig

PAPER_DIVISOR = 27      # the released schedules divide the block index by 27 whatever the depth

DIT_DDIM_50 = ToCaConfig(
    fresh_ratio=0.07, cycle=3, cycle_rule="dit", mlp_share=2.5, layer_slope=-0.2, layer_divisor=PAPER_DIVISOR,
    step_slope=-2.0, score="self_attn", spread_bonus=0.6, spread_cell=2)
DIT_DDPM_250 = replace(DIT_DDIM_50, cycle=4, layer_slope=0.8, step_slope=-0.4)
PIXART = ToCaConfig(
    fresh_ratio=0.30, cycle=3, cycle_rule="pixart", cross_attn_share=0.6, mlp_share=1.6, layer_slope=0.6,
    layer_divisor=PAPER_DIVISOR, step_slope=0.9, score="cross_attn", spread_bonus=0.4, spread_cell=4)
OPEN_SORA = ToCaConfig(
    fresh_ratio=0.10, cycle=3, cross_attn_cycle=6, cycle_rule="multiples", warmup_steps=3, cross_attn_share=0.0, mlp_share=1.495,
    layer_divisor=PAPER_DIVISOR, score="cross_attn")
FLUX = ToCaConfig(
    fresh_ratio=0.10, cycle=4, warmup_steps=3, mlp_share=0.4, parallel_mlp_share=1.6, layer_slope=0.5, layer_divisor=PAPER_DIVISOR,
    score="self_attn")

SHORT_RUN = 10          # steps below which a stride is so long that at most every other step is skipped
TOLERANCE = 0.2         # percent
LONG_RUN = 125          # steps from which DiT's DDPM-250 settings are nearer than its DDIM-50 ones


def paper(system: str, steps: int) -> ToCaConfig:
    """The published settings for a system ("dit", "pixart", "open_sora", "flux") and a number of sampling steps."""
    if system == "dit":
        return DIT_DDPM_250 if steps >= LONG_RUN else DIT_DDIM_50
    return {"pixart": PIXART, "open_sora": OPEN_SORA, "flux": FLUX}[system]


def auto(system: str, steps: int) -> ToCaConfig:
    """What measured best: one residual for all blocks, forecast, with full steps where the measured error asks for them."""
    return replace(paper(system, steps), layer_divisor=None, level="stack", tolerance=TOLERANCE, max_gap=2 if steps < SHORT_RUN else 8)
