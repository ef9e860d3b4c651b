"""Samplers, guidance, batches, partial denoising and chains of samplers, on the demo model, judged by the picture."""

import pytest
import torch

from .conftest import make_subject

SETTINGS = {"fresh_ratio": 0.3, "cycle": 2, "mlp_share": 1.6}
STEPS = 16


def psnr(a, b):
    """Of pictures in -1..1, in dB."""
    return 10 * torch.log10(4 / (a - b).square().mean()).item()


def assert_close(plain, fast):
    """The same picture to the eye, in few steps; half of them are partial."""
    assert psnr(plain, fast) > 20


def picture(demo, model=None, **options):
    options = {"size": (64, 64), "steps": STEPS, "cfg": 2.0, "batch": 1, **options}
    return (demo.sample(model, **options) if model or "latent" in options else demo.plain(**options)).clamp(-1, 1)


@pytest.mark.parametrize("sampler, scheduler", [("euler", "normal"), ("heun", "normal"), ("dpmpp_2m", "karras"), ("dpmpp_sde", "karras"),
                                                ("ddim", "ddim_uniform")])
def test_samplers_stay_close_to_their_uncached_picture(demo, cached, sampler, scheduler):
    """The first steps, which decide the composition, are plain."""
    model, reports = cached(demo, start_percent=0.2, **SETTINGS)
    plain = picture(demo, sampler=sampler, scheduler=scheduler)
    fast = picture(demo, model, sampler=sampler, scheduler=scheduler)
    assert reports[0].calls("partial") >= len(reports[0].steps) // 3
    assert_close(plain, fast)
    assert psnr(plain, fast) > psnr(plain, picture(demo, sampler=sampler, scheduler=scheduler, seed=99)) + 3


@pytest.mark.parametrize("sampler, scheduler, floor", [
    ("dpmpp_sde", "karras", 20), ("euler_ancestral", "simple", 25), ("heun", "simple", 30), ("dpmpp_2m", "simple", 30),
    ("ddim", "simple", 30), ("res_multistep", "simple", 30)])
def test_auto_stays_close_with_every_kind_of_sampler(demo, cached, sampler, scheduler, floor):
    """The error measured bounds what is skipped, whether a sampler calls once or twice a step, adds noise or not."""
    model, reports = cached(demo, "auto")
    plain, fast = (picture(demo, chosen, sampler=sampler, scheduler=scheduler) for chosen in (None, model))
    assert reports[0].calls("partial") >= 2
    assert psnr(plain, fast) > floor


def test_a_range_that_ends_early_leaves_nothing_to_cache(demo, cached):
    model, reports = cached(demo, "auto", end_percent=0.1)
    picture(demo, model, sampler="dpmpp_sde", steps=10)
    assert reports[0].calls("partial") == 0


@pytest.mark.parametrize("cfg, batch", [(1.0, 1), (2.0, 4), (4.0, 1)])
def test_guidance_and_batches(demo, cached, cfg, batch):
    model, reports = cached(demo, **SETTINGS)
    plain, fast = picture(demo, cfg=cfg, batch=batch), picture(demo, model, cfg=cfg, batch=batch)
    assert_close(plain, fast)
    assert reports[0].calls("partial") == STEPS // 2


def test_partial_denoising(demo, cached):
    start = picture(demo)
    model, reports = cached(demo, **SETTINGS)
    plain = picture(demo, latent=start, denoise=0.5, seed=8)
    fast = picture(demo, model, latent=start, denoise=0.5, seed=8)
    assert_close(plain, fast)
    assert len(reports[0].steps) == STEPS and reports[0].calls("partial") == STEPS // 2


def test_two_samplers_in_a_row_at_different_sizes(demo, cached):
    """A hires fix: the second run knows nothing of the first."""
    model, reports = cached(demo, **SETTINGS)

    def two_passes(model):
        small = picture(demo, model, steps=8)
        large = torch.nn.functional.interpolate(small, size=(96, 80), mode="bilinear")
        return demo.sample(model, latent=large, denoise=0.4, steps=8, cfg=2.0, size=None)

    plain, fast = two_passes(None), two_passes(model)
    assert fast.shape[-2:] == (96, 80)
    assert_close(plain.clamp(-1, 1), fast.clamp(-1, 1))
    assert [len(report.steps) for report in reports] == [8, 8]
    assert all(report.steps[0].kind == "full" for report in reports)


def test_split_sampling_runs_each_start_with_a_full_step(demo, cached):
    """KSampler Advanced: the first half leaves its noise, the second half takes over."""
    model, reports = cached(demo, **SETTINGS)
    half = demo.sample(model, size=(64, 64), steps=8, cfg=2.0, last_step=4)
    demo.sample(model, latent=half, steps=8, cfg=2.0, start_step=4, size=None, disable_noise=True)
    assert [[step.kind for step in report.steps] for report in reports] == [["full", "partial"] * 2] * 2


def test_steps_are_counted_by_evaluations(demo, cached):
    """heun calls the model twice a step but for the last."""
    model, reports = cached(demo, **SETTINGS)
    picture(demo, model, sampler="heun", steps=6)
    assert len(reports[0].steps) == 11
    assert [step.kind for step in reports[0].steps][:4] == ["full", "partial", "full", "partial"]


def test_the_range_of_the_sampling_process_is_kept(demo, cached):
    model, reports = cached(demo, start_percent=0.3, end_percent=0.8, **SETTINGS)
    picture(demo, model)
    kinds = [step.kind for step in reports[0].steps]
    assert kinds[0] == kinds[-1] == "plain"
    inside = [kind for kind in kinds if kind != "plain"]
    assert inside[0] == "full" and inside.count("partial") >= len(inside) // 3
    begin = kinds.index("full")
    assert kinds[begin:begin + len(inside)] == inside               # one stretch, plain only at the ends


def test_presets_follow_the_paper_and_the_depth(demo, cached):
    paper, auto = cached(demo, "paper"), cached(demo, "auto")
    for model, _ in (paper, auto):
        picture(demo, model)
    assert paper[1][0].settings["layer_divisor"] == 27 and auto[1][0].settings["layer_divisor"] is None
    assert paper[1][0].settings["cycle_rule"] == "dit" and paper[1][0].settings["fresh_ratio"] == 0.07


def test_counted_flops_agree_with_torchs_counter(subject, cached):
    from torch.utils.flop_counter import FlopCounterMode
    model, reports = cached(subject, fresh_ratio=0.3, cycle=3)
    for chosen, counted in ((None, lambda report: report.plain_flops), (model, lambda report: report.flops)):
        with FlopCounterMode(display=False) as counter:
            subject.sample(chosen)
        if chosen is None:
            subject.sample(model)
        assert counted(reports[-1]) == pytest.approx(counter.get_total_flops(), rel=0.02)


SCORED = {"paper": {"preset": "paper"}, "s1": {"score": "self_attn"}, "s1 of all queries": {"score": "self_attn", "score_queries": 1.0},
          "s2": {"score": "cross_attn"}}


@pytest.mark.parametrize("settings", SCORED.values(), ids=SCORED)
def test_counted_flops_hold_what_ranking_costs(subject, cached, pack, settings):
    """With more tokens than queries that are read, and for most of them no tokens computed, so that the scores are a good part of it."""
    from torch.utils.flop_counter import FlopCounterMode
    layout = pack.systems.system_of(subject.diffusion_model).layout
    if settings.get("score", layout.scores[0]) not in layout.scores:
        pytest.skip("the model has no such score")
    (model, reports), (unranked, others) = (cached(subject, **{"fresh_ratio": 0.02, **given}) for given in (settings, {"score": "random"}))
    subject.sample(model, size=(40, 40), steps=7)
    subject.sample(unranked, size=(40, 40), steps=7)
    with FlopCounterMode(display=False) as counter:
        subject.sample(model, size=(40, 40), steps=7)
    assert reports[1].flops == pytest.approx(counter.get_total_flops(), rel=0.002)
    assert reports[1].calls("partial") and (settings == SCORED["paper"] or reports[1].flops > others[0].flops)


def test_in_half_precision_ranking_costs_the_same(pack, checkpoints, cached):
    """No other way to read the attention is taken there."""
    from torch.utils.flop_counter import FlopCounterMode
    subject = make_subject("flux", pack, checkpoints, torch.bfloat16)
    subject.model.model.manual_cast_dtype = None                    # or a CPU computes in float32
    model, reports = cached(subject, "paper")
    with FlopCounterMode(display=False) as counter:
        subject.sample(model, size=(40, 40), steps=6)
    assert reports[0].calls("partial") and reports[0].flops == pytest.approx(counter.get_total_flops(), rel=0.002)


@pytest.mark.parametrize("settings", [{"preset": "paper"}, {"score": "random"},
                                      {"level": "stack", "refresh_ratio": 0.3, "refresh": "random"}], ids=["paper", "random", "refresh"])
def test_the_largest_seed_of_the_host(subject, cached, settings):
    """2**64 - 1, which streams after the first and later seeds count on from."""
    model, reports = cached(subject, **settings)
    options = {"seed": 2 ** 64 - 1, "steps": 5}
    result = subject.sample(model, **options)
    assert result.isfinite().all() and torch.equal(subject.sample(model, **options), result)
    assert [len(report.steps) for report in reports] == [5, 5]
