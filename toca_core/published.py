"""The settings that the paper's authors released for their systems (Shenyi-Z/ToCa)."""

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

LONG_RUN = 125          # steps from which DiT's DDPM-250 settings are nearer than its DDIM-50 ones


def dit(steps: int) -> ToCaConfig:
    return DIT_DDPM_250 if steps >= LONG_RUN else DIT_DDIM_50
