"""What must be equal is equal bit for bit (float32, CPU), and nothing is left behind."""

import pytest
import torch

import comfy.model_management

SETTINGS = {"fresh_ratio": 0.3, "cycle": 3}
MODES = {"module": {}, "forecast": {"stale_tokens": "forecast"}, "forecast 2": {"stale_tokens": "forecast", "order": 2},
         "stack": {"level": "stack"}, "curved stack": {"level": "stack", "order": 2}}


smoke = pytest.mark.smoke


@pytest.fixture(params=[pytest.param(name, marks=[smoke] if name in ("module", "smooth stack") else []) for name in MODES])
def mode(request):
    """Settings that leave the same steps full: every level, and what is done with stale tokens."""
    return {**SETTINGS, **MODES[request.param]}


@pytest.fixture
def first_run(subject, cached, mode):
    """(MODEL, the latent of its first run, its reports), sampled once for all tests of this file."""
    def run():
        model, reports = cached(subject, **mode)
        return model, subject.sample(model), reports
    return subject.once(("first run", mode), run)


def marks(subject):
    """Every attribute of every module, and the patcher's own options: what a clean model looks like."""
    modules = {name: {key: id(value) for key, value in vars(module).items()} for name, module in subject.model.model.named_modules()}
    return modules, sorted(subject.model.wrappers), repr(subject.model.model_options)


def test_caching_changes_the_result_a_little(subject, first_run):
    """Guards all other tests here: the cache is really at work."""
    _, fast, reports = first_run
    plain = subject.plain()
    assert not torch.equal(plain, fast)
    assert torch.isfinite(fast).all()
    assert reports[0].calls("partial") == 6 and reports[0].calls("full") == 3
    assert reports[0].flops < 0.7 * reports[0].plain_flops


def test_removed_node_equals_never_there(subject, cached, mode):
    before = subject.plain()
    subject.sample(cached(subject, **mode)[0])
    assert torch.equal(before, subject.sample())


@pytest.mark.parametrize(
    "settings", [pytest.param({"fresh_ratio": 1.0}, marks=smoke), {"cycle": 1}, {"start_percent": 1.0}, {"end_percent": 0.0},
                 {"warmup_steps": 99}, {"level": "stack", "tolerance": 0}, {"level": "stack", "cycle": 1},
                 pytest.param({"level": "stack", "end_percent": 0.0}, marks=smoke)])
def test_settings_that_leave_nothing_to_cache_equal_the_plain_model(subject, cached, settings):
    model, reports = cached(subject, **{**SETTINGS, **settings})
    assert torch.equal(subject.plain(), subject.sample(model))
    assert reports[0].flops_speedup == pytest.approx(1, abs=0.1)
    assert reports[0].calls("partial") == 0


def test_a_share_that_makes_every_mlp_token_fresh_recomputes_all_of_it(tiny_dit, cached):
    model, reports = cached(tiny_dit, fresh_ratio=0.5, mlp_share=2.0)
    tiny_dit.sample(model)
    assert [step.fresh_share["mlp"] for step in reports[0].steps if step.kind == "partial"] == [1.0] * 6


@pytest.mark.parametrize("settings", [pytest.param({}, marks=smoke), {"fresh_ratio": 0.0}, {"mlp_cycle": 1}, {"score": "random"},
                                      {"stale_tokens": "forecast"}, pytest.param({"level": "stack"}, marks=smoke)])
def test_what_has_not_changed_is_answered_as_before(subject, cached, settings):
    """On the input of the full step, kept and fresh tokens of a partial step are what they were."""
    model, reports = cached(subject, **{**SETTINGS, **settings})
    full, partial = subject.twice(model)
    assert [step.kind for step in reports[0].steps] == ["full", "partial"]
    torch.testing.assert_close(partial, full, rtol=1e-4, atol=1e-4)


def test_a_second_run_equals_the_first(subject, first_run):
    model, first, reports = first_run
    assert torch.equal(first, subject.sample(model))
    assert [step.kind for step in reports[0].steps] == [step.kind for step in reports[-1].steps]


def test_random_selection_repeats_with_the_seed_and_differs_without(subject, cached):
    model, _ = cached(subject, score="random", **SETTINGS)
    assert torch.equal(subject.sample(model), subject.sample(model))
    other, _ = cached(subject, score="random", staleness_weight=0.0, fresh_ratio=0.3)
    assert not torch.equal(subject.sample(model), subject.sample(other))


def test_nothing_is_left_on_the_model(subject, cached, mode):
    subject.sample()                                                # the first load sets host fields
    before = marks(subject)
    subject.sample(cached(subject, **mode)[0])
    assert marks(subject) == before


def test_an_interrupt_leaves_the_next_run_clean(subject, first_run):
    model, expected, reports = first_run
    before, count = marks(subject), len(reports)

    def stop(step, *_):
        if step == 4:
            raise comfy.model_management.InterruptProcessingException()

    with pytest.raises(comfy.model_management.InterruptProcessingException):
        subject.sample(model, callback=stop)
    assert marks(subject) == before
    assert torch.equal(expected, subject.sample(model))
    stopped, _ = reports[count:]
    assert len(stopped.steps) == 5 and "InterruptProcessingException" in stopped.note


def test_an_error_inside_a_block_leaves_the_next_run_clean(subject, first_run, monkeypatch, pack):
    model, expected, _ = first_run
    before = marks(subject)
    last = subject.diffusion_model.get_submodule(pack.systems.system_of(subject.diffusion_model).stacks[-1].path)[-1]
    calls = []

    def failing(*args, **kwargs):
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("a layer failed")
        return type(last).forward(last, *args, **kwargs)

    monkeypatch.setitem(last.__dict__, "forward", failing)
    with pytest.raises(RuntimeError, match="a layer failed"):
        subject.sample(model)
    monkeypatch.undo()
    assert marks(subject) == before
    assert torch.equal(expected, subject.sample(model))


def test_another_packs_forward_on_a_module_is_called_and_kept(tiny_dit, cached, monkeypatch):
    mlp = tiny_dit.diffusion_model.blocks[0].mlp
    widths = []

    def foreign(x, *modulation):
        widths.append(x.shape[1])
        return type(mlp).forward(mlp, x, *modulation)

    model, _ = cached(tiny_dit, **SETTINGS)
    expected = tiny_dit.sample(model)
    monkeypatch.setitem(mlp.__dict__, "forward", foreign)
    assert torch.equal(tiny_dit.sample(model), expected)
    assert mlp.__dict__["forward"] is foreign
    assert set(widths) == {64, int(64 * 0.3)}                       # all tokens on full steps, the fresh ones on partial steps


def test_cond_and_uncond_are_kept_apart(tiny_dit, cached, monkeypatch, mode):
    """Computed in one batch or one after the other, the two conditionings give the same picture."""
    model, reports = cached(tiny_dit, memory_budget=1, **mode)      # the host is about to believe that none is left
    together = tiny_dit.sample(model)
    monkeypatch.setattr(type(tiny_dit.model.model), "memory_required", lambda *args, **kwargs: 1e30)
    apart = tiny_dit.sample(model)
    assert reports[0].model_calls["full"] == 3 and reports[1].model_calls["full"] == 6
    torch.testing.assert_close(apart, together, rtol=1e-3, atol=1e-3)


def test_pictures_of_a_batch_do_not_mix(tiny_dit, cached, pack, mode):
    model, _ = cached(tiny_dit, **mode)
    batch = tiny_dit.sample(model, batch=4)
    rounding = 1e-5 * batch.abs().max().item()                      # random weights end in values of thousands
    import comfy.sample
    noise = comfy.sample.prepare_noise(torch.zeros(4, 4, 16, 16), 3)
    conditioning = pack.dit_loader.conditioning
    with torch.inference_mode():
        for index, label in enumerate((1, 3, 1, 3)):
            one = comfy.sample.sample(model, noise[index:index + 1], 9, 3.0, "euler", "normal", conditioning([label]), tiny_dit.negative,
                                      torch.zeros(1, 4, 16, 16), disable_pbar=True, seed=3)
            torch.testing.assert_close(one, batch[index:index + 1], rtol=1e-3, atol=rounding)


@pytest.mark.parametrize("size", [(16, 24), (15, 9), (7, 32)])
def test_odd_and_non_square_sizes_run(subject, cached, size):
    model, reports = cached(subject, **SETTINGS)
    result = subject.sample(model, size=size)
    assert result.shape[-2:] == size and torch.isfinite(result).all()
    assert reports[0].calls("partial") == 6
    full, _ = cached(subject, fresh_ratio=1.0)
    assert torch.equal(subject.sample(full, size=size), subject.plain(size=size))


def test_a_stacked_node_replaces_the_one_before(subject, cached, pack):
    first, reports = cached(subject, **SETTINGS)
    config = pack.config.ToCaConfig(cycle=1, score="random")
    second = pack.seam.install(first, pack.settings.Settings("custom", config), lambda report: None)
    assert torch.equal(subject.sample(second), subject.plain())
    assert reports == []


@pytest.fixture(scope="session")
def cache_node(pack):
    from tools.pack import pack_module
    return pack_module("nodes.toca_cache").ToCaCache


WIDGETS = {"fresh_ratio": 0.3, "cycle": 3, "mlp_share": 1.6, "cross_attn_share": 0.6, "layer_slope": 0.0, "step_slope": 0.0,
           "cycle_rule": "fixed", "staleness_weight": 0.25, "spread_bonus": 0.4, "spread_cell": 2, "start_percent": 0.0,
           "end_percent": 1.0, "warmup_steps": 1}


@smoke
def test_the_node_itself(subject, cached, cache_node):
    """Off it hands on the very model; on, what it returns samples as its widgets say."""
    off, = cache_node.execute(subject.model, False, "custom", **WIDGETS).args
    assert off is subject.model
    on, = cache_node.execute(subject.model, True, "custom", **WIDGETS).args
    same, _ = cached(subject, mlp_share=1.6, cross_attn_share=0.6, parallel_mlp_share=1.6, **SETTINGS)      # the last as it comes
    assert torch.equal(subject.sample(on), subject.sample(same))
    everything, = cache_node.execute(subject.model, True, "custom", **{**WIDGETS, "cycle": 1}).args
    assert torch.equal(subject.sample(everything), subject.plain())


def test_the_node_off_passes_any_model(cache_node):
    stranger = object()
    assert cache_node.execute(stranger, False, "auto", **WIDGETS).args == (stranger,)


def test_block_ratios_of_the_node_reach_the_blocks(tiny_dit, cache_node, caplog):
    model, = cache_node.execute(tiny_dit.model, True, "custom", block_ratios="mlp: 0.5, 0, 0.25, 0.25", verbose=True, **WIDGETS).args
    with caplog.at_level("INFO", logger="toca"):
        tiny_dit.sample(model)
    partial = [record.getMessage() for record in caplog.records if "partial" in record.getMessage() and "step" in record.getMessage()]
    assert partial and all('"mlp": 0.25' in line for line in partial)
