"""Schedules against arithmetic that a reader can check by hand."""

import pytest

from toca_core import presets, published, schedule
from toca_core.calls.module import Site
from toca_core.checks import ConfigError
from toca_core.config import ToCaConfig
from toca_core.schedule import Cycle, Step

ATTENTION, CROSS, MLP = (Site("", kind, kind) for kind in ("self_attn", "cross_attn", "mlp"))


def step(index, total):
    return Step(index, index, total)


def kinds(config, total, kind="mlp"):
    cycle = Cycle(config)
    return "".join("F" if kind in cycle.full_kinds(step(i, total)) else "p" for i in range(total))


def test_layer_factor_runs_from_one_plus_w_to_one_minus_w():
    assert schedule.layer_factor(0.6, 0, 27) == 1.6
    assert schedule.layer_factor(0.6, 27, 27) == pytest.approx(0.4)
    assert schedule.layer_factor(-0.2, 0, 27) == 0.8
    assert schedule.layer_factor(0.6, 0, 0) == 1.6                  # one block


def test_step_factor_falls_or_rises():
    assert schedule.step_factor(0.9, step(0, 20)) == 1.9
    assert schedule.step_factor(0.9, step(10, 20)) == pytest.approx(1.0)
    # DiT counts from the end: 1 + 2 - 4 s/T with s = T - 1 - i
    assert schedule.step_factor(-2.0, step(49, 50)) == 3.0
    assert schedule.step_factor(-2.0, step(0, 50)) == pytest.approx(3 - 4 * 49 / 50)


def test_fresh_count_is_floored_and_clamped():
    assert schedule.fresh_count(0.5, 9) == 4
    assert schedule.fresh_count(-0.3, 9) == 0
    assert schedule.fresh_count(1.7, 9) == 9
    assert schedule.fresh_count(0.3, 10) == 3                       # 3.0000001 in float32, 2.9999999 would be lost


def test_self_attention_is_never_partial():
    config = ToCaConfig(fresh_ratio=0.9)
    assert schedule.fresh_ratio(config, step(3, 10), ATTENTION, 0, 4) == 0


def test_ratio_is_the_product_of_its_factors():
    # 0.30 x (1 + 0.6 - 1.2 x 9/27) x (1.9 - 1.8 x 5/20) x 1.6
    assert schedule.fresh_ratio(published.PIXART, step(5, 20), MLP, 9, 28) == pytest.approx(0.30 * 1.2 * 1.45 * 1.6)
    assert schedule.fresh_ratio(published.PIXART, step(5, 20), CROSS, 9, 28) == pytest.approx(0.30 * 1.2 * 1.45 * 0.6)


def test_own_schedules_divide_by_the_models_depth():
    config = ToCaConfig(fresh_ratio=0.5, layer_slope=0.5)
    assert schedule.fresh_ratio(config, step(0, 4), MLP, 3, 4) == pytest.approx(0.5 * 0.5)


def test_block_ratios_take_the_place_of_the_layer_schedule():
    config = ToCaConfig(fresh_ratio=0.5, layer_slope=0.5, mlp_share=3, block_ratios=(("mlp", (0.1, 0.2)),))
    assert [schedule.fresh_ratio(config, step(0, 4), MLP, block, 2) for block in (0, 1)] == [0.1, 0.2]


def test_block_ratios_by_name_go_before_those_by_kind_and_one_stands_for_all():
    config = ToCaConfig(block_ratios=(("mlp", (0.1,)), ("temporal.mlp", (0.2, 0.3))))
    shares = {name: [schedule.fresh_ratio(config, step(0, 4), Site(name, "mlp", "mlp"), block, 2) for block in (0, 1)]
              for name in ("spatial", "temporal")}
    assert shares == {"spatial": [0.1, 0.1], "temporal": [0.2, 0.3]}


def test_kinds_of_modules_have_cycles_of_their_own():
    config = ToCaConfig(cycle=2, cross_attn_cycle=4, mlp_cycle=3, cycle_rule="multiples")
    assert [kinds(config, 9, kind) for kind in ("self_attn", "cross_attn", "mlp")] == ["FpFpFpFpF", "FpppFpppF", "FppFppFpp"]


def test_published_cycles_of_open_sora_and_flux():
    assert kinds(published.OPEN_SORA, 10) == "FFFFppFppF" and kinds(published.OPEN_SORA, 10, "cross_attn") == "FFFpppFppp"
    assert kinds(published.FLUX, 12) == "FFFpppFpppFp"


def test_fixed_cycle():
    assert kinds(ToCaConfig(cycle=3), 9) == "FppFppFpp"
    assert kinds(ToCaConfig(cycle=3, warmup_steps=3), 9) == "FFFppFppF"
    assert kinds(ToCaConfig(cycle=1), 4) == "FFFF"
    assert kinds(ToCaConfig(fresh_ratio=1.0), 4) == "FFFF"


def test_dit_cycle_at_50_steps():
    # the first interval is round(3 / (1.4 - 0.8 x 49/50)) = round(4.87) = 5: full again where (49 - i) is a multiple of 5
    assert kinds(published.DIT_DDIM_50, 50).startswith("FpppFFpppFpppFpppF")
    assert kinds(published.DIT_DDIM_50, 50).endswith("FpFpFpF")


def test_pixart_cycle_at_20_steps():
    assert kinds(published.PIXART, 20) == "FpppFpFppFppFppFppFp"


def test_partial_steps_ahead_end_at_the_next_full_step():
    cycle = Cycle(published.FLUX)
    cycle.full_kinds(step(0, 20))
    assert cycle.partial_steps_ahead(step(0, 20), "mlp") == 0       # the next steps are full as well
    for config in (ToCaConfig(cycle=4), published.DIT_DDIM_50, published.PIXART):
        cycle, text = Cycle(config), kinds(config, 50)
        for i in range(49):
            if "mlp" in cycle.full_kinds(step(i, 50)):
                run = text[i + 1:]
                expected = len(run) - len(run.lstrip("p"))
                assert cycle.partial_steps_ahead(step(i, 50), "mlp") >= expected


def test_presets_by_length_of_the_run():
    assert published.dit(50) is published.DIT_DDIM_50
    assert published.dit(250) is published.DIT_DDPM_250
    assert published.PIXART.layer_divisor == 27
    assert presets.auto(20).layer_divisor is None and presets.auto(20).level == "stack"
    assert kinds(published.PIXART, 4) == "Fppp"
    assert [presets.auto(steps).max_gap for steps in (4, 9, 10)] == [2, 2, 8]


@pytest.mark.parametrize("settings, named", [
    ({"fresh_ratio": 1.2}, "fresh_ratio is 1.2"), ({"fresh_ratio": "0.2"}, "fresh_ratio is '0.2'"), ({"cycle": 0}, "cycle is 0"),
    ({"cycle": 2.5}, "cycle is 2.5"), ({"cycle": True}, "cycle is True"), ({"score": "best"}, "score is 'best'"),
    ({"spread_cell": 0}, "spread_cell is 0"), ({"fresh_ratio": float("nan")}, "fresh_ratio is nan"),
    ({"start_percent": 0.6, "end_percent": 0.4}, "start_percent is 0.6"),
    ({"block_ratios": (("mlp", (0.1, 1.5)),)}, "mlp, block 1 is 1.5"), ({"block_ratios": (("mlp", ()),)}, "no ratio for mlp"),
    ({"mlp_cycle": 0}, "mlp_cycle is 0"), ({"cross_attn_cycle": 1.5}, "cross_attn_cycle is 1.5"),
])
def test_bad_settings_are_refused_by_name_value_and_remedy(settings, named):
    with pytest.raises(ConfigError) as refusal:
        ToCaConfig(**settings)
    assert named in str(refusal.value)
    assert any(remedy in str(refusal.value) for remedy in ("give", "choose", "set"))
