"""The prediction before a run against the report after it."""

import gc
import random
from dataclasses import replace
from types import FunctionType

import pytest
import torch

from tools.pack import pack_module

SYSTEMS = {"dit": ("self_attn", "random"), "demo": ("self_attn", "random"), "pixart": ("self_attn", "cross_attn", "random"),
           "open_sora": ("cross_attn", "random"), "flux": ("self_attn", "random")}


@pytest.fixture
def predicted(pack):
    """predicted(subject, config, **how to sample) -> (Prediction of a run like one that has been, RunReport of a run with config)."""
    records, prediction = pack_module("nodes.host.records"), pack_module("toca_core.predict")

    def call(subject, config, **sampling):
        kept, reports = records.Records(), []
        system, costs = pack.systems.system_of(subject.diffusion_model), pack.systems.bound_of(subject.diffusion_model)[0].costs
        kept.loaded("1", "model", system.name, costs)
        for settings in (pack.settings.Settings("paper", pack.config.ToCaConfig()), pack.settings.Settings("custom", config)):
            before = kept.of("1").run
            on_end = None if before else lambda run, percents: kept.ran("1", run, percents)
            model = pack.seam.install(subject.model, settings, reports.append, on_end)
            subject.sample(model, **sampling)
        config, _ = settings.resolve(system, costs, 1)
        return prediction.predict(costs, config, kept.of("1").run.shape(config.start_percent, config.end_percent)), reports[-1]
    return call


def drawn(pack, name, seed):
    """Settings at random."""
    draw = random.Random(f"{name} {seed}")
    modules = {"dit": ["mlp"], "demo": ["mlp"], "pixart": ["mlp", "cross_attn"], "open_sora": ["spatial.mlp", "temporal.cross_attn"],
               "flux": ["double.img_mlp", "single.mlp", "double.txt_mlp"]}[name]
    ratios = tuple((module, tuple(round(draw.uniform(0, 1), 3) for _ in range(draw.choice((1, 3, 8)))))
                   for module in modules if draw.random() < 0.7)
    return pack.config.ToCaConfig(
        fresh_ratio=draw.uniform(0, 0.9), cycle=draw.randint(2, 5), cycle_rule=draw.choice(("fixed", "multiples", "dit", "pixart")),
        warmup_steps=draw.randint(1, 3), mlp_share=draw.uniform(0, 2), cross_attn_share=draw.choice((0, draw.uniform(0, 2))),
        parallel_mlp_share=draw.uniform(0, 2), layer_slope=draw.uniform(-1.5, 1.5), step_slope=draw.uniform(-1.5, 1.5),
        block_ratios=ratios, score=draw.choice(SYSTEMS[name]), mlp_cycle=draw.choice((None, None, 2)),
        cross_attn_cycle=draw.choice((None, 3)), start_percent=draw.choice((0.0, 0.2)), end_percent=draw.choice((1.0, 0.8)),
        spread_bonus=0.4, stale_tokens=draw.choice(("reuse", "forecast")))


def assert_foretold(found, report):
    assert found.plain_flops == report.plain_flops
    assert found.flops == pytest.approx(report.flops, rel=0.02)
    assert found.full == report.calls("full") + report.calls("plain") and found.partial == report.calls("partial")
    assert found.cache_bytes == report.predicted_cache_bytes
    assert found.speedup == pytest.approx(report.flops_speedup, rel=0.02)


@pytest.mark.parametrize("seed", range(10))
def test_the_demo_model_costs_what_was_foretold(demo, pack, predicted, seed):
    found, report = predicted(demo, drawn(pack, "demo", seed), steps=12)
    assert_foretold(found, report)


@pytest.mark.parametrize("seed", range(4))
def test_every_system_costs_what_was_foretold(subject, pack, predicted, seed):
    found, report = predicted(subject, drawn(pack, subject.name, seed), steps=9, batch=2)
    assert_foretold(found, report)


@pytest.mark.parametrize("share", [0.0, 0.9, 1.0])
def test_what_ranking_will_cost_is_foretold(subject, pack, predicted, share):
    """With more tokens than the fewest queries that are read; in some of the blocks no token is computed, and nothing is ranked."""
    config = pack.config.ToCaConfig(fresh_ratio=0.02, layer_slope=1.5, score=pack.settings.score_of("auto", layout_of(pack, subject)),
                                    score_queries=share)
    found, report = predicted(subject, config, size=(40, 40), steps=5)
    assert_foretold(found, report)


def layout_of(pack, subject):
    return pack.systems.system_of(subject.diffusion_model).layout


def test_on_a_true_flux_ranking_is_a_small_part(pack):
    """FLUX.1 at 1024 px with its text, 19 and 38 blocks, 28 steps of preset paper: under 2% of what the plain run computes."""
    account, predict, published = (pack_module(f"toca_core.{name}") for name in ("costs.account", "predict", "published"))
    flux = pack_module("nodes.systems.flux").FLUX
    double, single = flux.stacks
    width, sizes = 3072, account.Sizes(1, (1, 64, 64), context=512)
    macs = {site: (4 if site.kind == "self_attn" else 8) * width ** 2 for site in double.sites}
    joint, parallel = (pack_module(f"toca_core.families.{name}") for name in ("joint", "parallel"))
    stacks = [joint.JointCosts(double, 19, width, macs), parallel.ParallelCosts(single, 38, width, 12 * width ** 2, 3 * width ** 2)]
    costs = account.ModelCosts(flux.layout, stacks, (0, 0, 0), 0)
    shape = predict.Shape(28, tuple((step, True) for step in range(28)), ((sizes, 1),), itemsize=2)
    ranked, random = (predict.predict(costs, replace(published.FLUX, score=score), shape) for score in ("self_attn", "random"))
    share = (ranked.flops - random.flops) / ranked.plain_flops
    assert [stack.attending(sizes) for stack in stacks] == [64 * 64 + 512] * 2      # each text token to all, and all to it
    assert 0 < share < 0.02 and ranked.speedup > 0.97 * random.speedup


@pytest.mark.parametrize("sampler", ["euler", "heun"])
def test_a_fixed_cycle_at_level_stack_is_foretold_and_a_tolerance_is_not(tiny_dit, pack, predicted, sampler):
    config = pack.config.ToCaConfig(level="stack", cycle=3)
    found, report = predicted(tiny_dit, config, sampler=sampler)
    assert_foretold(found, report)
    assert predicted(tiny_dit, pack.config.ToCaConfig(level="stack", tolerance=0.3))[0] is None


def test_nothing_cached_costs_as_much_as_without(tiny_dit, pack, predicted):
    for config in (pack.config.ToCaConfig(cycle=1), pack.config.ToCaConfig(fresh_ratio=1.0), pack.config.ToCaConfig(end_percent=0.0)):
        found, report = predicted(tiny_dit, config)
        assert found.flops == found.plain_flops == report.flops and found.cache_bytes == 0 == report.predicted_cache_bytes


def test_no_model_is_kept_for_it(pack, tiny_dit):
    """Of the costs that a record holds, everything is plain: numbers, names and rows of the table."""
    costs = pack.systems.bound_of(tiny_dit.diffusion_model)[0].costs
    seen, reached = set(), [costs]
    while reached:
        thing = reached.pop()
        assert not isinstance(thing, (torch.Tensor, torch.nn.Module))
        if id(thing) not in seen and not isinstance(thing, (type, FunctionType)):
            seen.add(id(thing))
            reached.extend(gc.get_referents(thing))


def test_only_the_latest_nodes_are_known(pack):
    records = pack_module("nodes.host.records")
    kept = records.Records()
    costs = pack_module("toca_core.costs.account").ModelCosts(None, [], (0, 0, 0), 0)
    for node in range(records.LIMIT + 5):
        kept.loaded(str(node), "model", "dit", costs)
    assert len(kept.known) == records.LIMIT and kept.of("4") is None and kept.of("5") is not None


@pytest.mark.parametrize("sampler", ["euler", "uni_pc"])
def test_a_number_of_calls_at_level_stack_is_foretold_with_its_memory(tiny_dit, pack, predicted, sampler):
    """Over a sampler whose errors are not taken back, what the model said is kept beside the tokens."""
    found, report = predicted(tiny_dit, pack.config.ToCaConfig(level="stack", calls=5, max_gap=0), sampler=sampler)
    assert_foretold(found, report)
