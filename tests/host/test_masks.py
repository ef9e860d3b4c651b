"""Masks: tokens inside are computed at every step, through the host's own sampler."""


import pytest
import torch

from tools.pack import pack_module

STACK = {"level": "stack", "cycle": 4, "fresh_ratio": 0.0, "tolerance": None, "repayment": 0.0, "token_mask": True}


@pytest.fixture(scope="module")
def masks():
    return pack_module("nodes.host.regions"), pack_module("nodes.toca_token_mask").ToCaTokenMask, \
        pack_module("nodes.toca_region_priority").ToCaRegionPriority


def painted(model, masks, mask, dilation=0):
    return masks[1].execute(model, mask, dilation)[0]


def square(size=16, low=4, high=8, batch=1):
    mask = torch.zeros(batch, size, size)
    mask[:, low:high, low:high] = 1
    return mask


@pytest.fixture(scope="module", params=["dit", "flux"])
def refreshing(request, pack, checkpoints):
    from tests.host.conftest import make_subject
    return make_subject(request.param, pack, checkpoints)


def test_a_white_mask_is_the_plain_model(refreshing, cached, masks):
    model, reports = cached(refreshing, **STACK)
    assert torch.equal(refreshing.sample(painted(model, masks, torch.ones(1, 8, 8))), refreshing.sample())
    assert reports[0].calls("partial") == 0 and "covers every token" in reports[0].note


def test_auto_takes_the_level_that_can_compute_a_masks_tokens(refreshing, pack, masks):
    reports = []
    model = pack.seam.install(refreshing.model, pack.settings.Settings("auto", pack.config.ToCaConfig(), tolerance=5.0), reports.append)
    refreshing.sample(painted(model, masks, square()), steps=12)
    refreshing.sample(model, steps=12)
    assert [report.settings["level"] for report in reports] == ["stack", "output"]
    assert [any(0 < share < 1 for step in report.steps for share in step.fresh_share.values()) for report in reports] == [True, False]


def test_a_black_mask_is_none(refreshing, cached, masks):
    model, reports = cached(refreshing, **STACK)
    assert torch.equal(refreshing.sample(painted(model, masks, torch.zeros(1, 8, 8))), refreshing.sample(model))
    assert reports[0].flops == reports[1].flops


@pytest.mark.parametrize("batch", [1, 2])
def test_fresh_tokens_are_exact_where_nothing_else_has_changed(refreshing, cached, masks, batch):
    """The same input twice: keys and values of the others are what they would be, so the second answer is the first."""
    model, reports = cached(refreshing, order=0, **STACK)
    mask = torch.cat((square(), square(low=2, high=9)))[:batch]
    first, second = refreshing.twice(painted(model, masks, mask))
    assert [step.kind for step in reports[0].steps] == ["full", "partial"]
    torch.testing.assert_close(second, first, rtol=1e-4, atol=1e-4)
    assert not torch.equal(first, torch.zeros_like(first))


def test_fresh_tokens_come_from_the_blocks(refreshing, cached, masks):
    """What is computed follows the model, not the forecast."""
    plain = refreshing.sample(steps=6)
    inside = square()[0] > 0
    errors = []
    for chosen in (None, square()):
        model, _ = cached(refreshing, **{**STACK, "cycle": 3})
        model = model if chosen is None else painted(model, masks, chosen, dilation=2)
        errors.append((refreshing.sample(model, steps=6) - plain)[..., inside].square().mean().item())
    assert errors[1] < errors[0]


@pytest.mark.parametrize("size, mask_size", [((16, 24), (7, 5)), ((15, 18), (64, 48)), ((12, 12), (512, 512))])
def test_sizes(refreshing, cached, masks, size, mask_size):
    model, reports = cached(refreshing, **STACK)
    mask = torch.zeros(1, *mask_size)
    mask[:, mask_size[0] // 3:mask_size[0] // 2, mask_size[1] // 3:mask_size[1] // 2] = 1
    picture = refreshing.sample(painted(model, masks, mask), size=size)
    assert picture.shape[-2:] == size and picture.isfinite().all()
    assert reports[0].calls("partial") > 0 and reports[0].note == ""
    model, without = cached(refreshing, **STACK)
    refreshing.sample(model, size=size)
    assert reports[0].flops > without[0].flops


def test_the_tokens_that_a_mask_touches(pack, masks):
    regions = masks[0]
    mask = torch.zeros(1, 9, 9)
    mask[:, 8, 3] = 1
    for dilation, expected in ((0, [[2, 0]]), (1, [[1, 0], [1, 1], [2, 0], [2, 1]])):
        region = regions.Region(regions.painted(mask, None, (9, 9), 1) > 0, dilation, (1, 4, 4))
        assert region.tokens[0, 0].nonzero().tolist() == expected
        assert region.by_token(region.tokens, torch.zeros(2, 4), 12).shape == (2, 12)    # of 3 x 3 tokens, three beside them
    assert region.by_token(region.tokens, torch.zeros(2, 4), 12).sum() == 2 * 4     # those of the last expectation, in both pictures


def test_each_picture_of_a_batch_has_its_own_mask(refreshing, cached, masks):
    """The other one's mask does not matter to it."""
    model, _ = cached(refreshing, **STACK)
    mask = torch.cat((square(), square(low=8, high=12)))
    both = refreshing.sample(painted(model, masks, mask), batch=2)
    one = refreshing.sample(painted(model, masks, mask[:1]), batch=2)
    torch.testing.assert_close(both[0], one[0], rtol=1e-3, atol=1e-3)
    assert (both[1] - one[1]).abs().max() > 1e-3


def test_a_mask_for_another_number_of_pictures(refreshing, cached, masks):
    model, _ = cached(refreshing, **STACK)
    with pytest.raises(ValueError, match="The mask has 3 pictures, the latent 2; give one"):
        refreshing.sample(painted(model, masks, square(batch=3)), batch=2)


def test_the_order_of_the_nodes_does_not_matter(refreshing, cached, pack, masks):
    after, _ = cached(refreshing, **STACK)
    settings = pack.settings.Settings("custom", pack.config.ToCaConfig(**STACK))
    before = pack.seam.install(painted(refreshing.model, masks, square()), settings, lambda report: None)
    results = [refreshing.sample(model) for model in (painted(after, masks, square()), before, after)]
    assert torch.equal(results[0], results[1]) and not torch.equal(results[0], results[2])


def test_nothing_is_left_on_the_model(refreshing, cached, masks):
    plain = refreshing.sample()
    model, _ = cached(refreshing, **STACK)
    refreshing.sample(painted(model, masks, square()))
    assert not any("forward" in module.__dict__ for module in refreshing.diffusion_model.modules())
    assert not any(key.startswith("toca") for key in refreshing.model.model_options.get("transformer_options", {}))
    assert torch.equal(refreshing.sample(), plain)


def test_a_noise_mask_runs_through_the_hosts_sampler(refreshing, cached):
    """Outside it the picture stays; a small one is computed at every step, a large one is not."""
    latent = torch.randn(1, refreshing.model.model.latent_format.latent_channels, 16, 16, generator=torch.Generator().manual_seed(2))
    flops = []
    for mask in (square(), square(low=1, high=15)):
        model, reports = cached(refreshing, **STACK)
        picture = refreshing.sample(model, latent=latent, size=None, noise_mask=mask)
        outside = mask[0] == 0
        torch.testing.assert_close(picture[..., outside], latent[..., outside], rtol=1e-4, atol=1e-4)
        assert not torch.equal(picture[..., ~outside], latent[..., ~outside])
        flops.append(reports[0].flops)
    model, reports = cached(refreshing, **STACK)
    refreshing.sample(model)
    assert flops[0] > flops[1] == reports[0].flops


@pytest.mark.parametrize("settings", [{}, {"tolerance": 5.0}, {"refresh_ratio": 0.25}, {"refresh_ratio": 0.25, "refresh": "self_attn"}])
def test_counted_flops_agree_with_torchs_counter(refreshing, cached, masks, settings):
    from torch.utils.flop_counter import FlopCounterMode
    model, reports = cached(refreshing, **{**STACK, **settings})
    model = painted(model, masks, square(), dilation=1)
    with FlopCounterMode(display=False) as counter:
        refreshing.sample(model)
    assert reports[0].calls("partial") > 0
    assert reports[0].flops == pytest.approx(counter.get_total_flops(), rel=0.02)
    assert reports[0].flops < reports[0].plain_flops


@pytest.mark.parametrize("refresh", ["error", "self_attn", "random"])
def test_refresh_without_a_mask(refreshing, cached, refresh):
    """At a share of 1 every token is fresh: the plain model, to rounding. Anything less lies between that and none."""
    plain, errors = refreshing.sample(steps=6), []
    for ratio in (0.0, 0.3, 1.0):
        model, reports = cached(refreshing, **STACK, refresh=refresh, refresh_ratio=ratio)
        errors.append((refreshing.sample(model, steps=6) - plain).square().mean().item())
        assert reports[0].calls("partial") > 0
    assert errors[2] < 1e-6 < errors[0]


def test_tokens_are_ranked_by_what_all_blocks_attend_to(refreshing, cached, monkeypatch):
    attention, plan = pack_module("toca_core.select.attention"), pack_module("toca_core.select.regions").Plan
    received, renew, seen, checked = attention.received, plan.renew, [], []

    def listening(*given):
        seen.append(received(*given))
        return seen[-1]

    def renewed(self, score, ahead):
        total = sum(block[:, -score.shape[1]:] for block in seen)
        checked.append(len(seen))
        torch.testing.assert_close(score, total / total.amax(-1, keepdim=True))
        seen.clear()
        return renew(self, score, ahead)

    monkeypatch.setattr(attention, "received", listening)
    monkeypatch.setattr(plan, "renew", renewed)
    model, _ = cached(refreshing, **STACK, refresh="self_attn", refresh_ratio=0.3)
    refreshing.sample(model, steps=4)
    assert checked and min(checked) > 1


def test_waiting_tokens_get_their_turn(pack, masks):
    config = pack.config.ToCaConfig(level="stack", refresh_ratio=0.25, staleness_weight=10.0, cycle=1)
    plan = pack_module("toca_core.select.regions").Plan(config, 8)
    plan.renew(torch.rand(1, 8), 4)
    assert sorted(torch.cat([plan.at(step) for step in (1, 2, 3, 4)], dim=1)[0].tolist()) == list(range(8))


@pytest.mark.parametrize("name", ["pixart", "open_sora"])
def test_a_model_that_cannot_refresh_says_so_and_goes_on(pack, checkpoints, cached, masks, name):
    from tests.host.conftest import make_subject
    subject = make_subject(name, pack, checkpoints)
    model, reports = cached(subject, **STACK)
    assert torch.equal(subject.sample(painted(model, masks, square())), subject.sample(model))
    assert "cannot compute single tokens between full steps" in reports[0].summary() and reports[1].note == ""
    assert reports[0].calls("partial") > 0


def test_what_wants_every_token_gets_it(refreshing, cached, masks):
    model, reports = cached(refreshing, **STACK)
    patched = painted(model, masks, square())
    patched.set_model_patch(lambda *given: given, "of_another_node")
    assert torch.equal(refreshing.sample(patched), refreshing.sample(model))
    assert "a patch of another node needs all of them" in reports[0].note


def test_a_picture_of_a_batch_without_a_mask_does_not_stop_the_cycle(refreshing, cached, masks):
    model, reports = cached(refreshing, **{**STACK, "tolerance": 1e-7})
    mask = torch.cat((square(), torch.zeros(1, 16, 16)))
    refreshing.sample(painted(model, masks, mask), batch=2)
    assert reports[0].calls("partial") == 0


def run_inside(tiny_dit, pack, given=None, **changes):
    """A run with the square as its region, given by the user or not; without one where that is None."""
    region = None if given is None else pack_module("nodes.host.regions").Region(square()[:, None] > 0, 0, (1, 2, 2), given)
    record = pack_module("toca_core.recording").TokenRecord((2, 4, 16, 16), (1, 2, 2))
    config, report = pack.config.ToCaConfig(**{**STACK, **changes}), pack_module("toca_core.report").RunReport("DiT", "custom", {})
    about = pack_module("toca_core.levels.base").Run(config, None, frozenset(), record, report.remark, region=region)
    layout = pack.systems.system_of(tiny_dit.diffusion_model).layout
    return pack.run.SamplingRun(config, layout, tiny_dit.diffusion_model, about, report, [1.0, 0.0])


def test_the_error_counts_inside_the_mask(tiny_dit, pack):
    """Also where its tokens are not computed: at level output by the numbers inside, at level stack by the tokens there."""
    level = run_inside(tiny_dit, pack, given=False, level="output").level
    output, error = torch.ones(2, 4, 16, 16), torch.zeros(2, 4, 16, 16)
    error[0, :, 0, 0], error[1, :, 4:8, 4:8] = 9.0, 0.5
    schedule = pack_module("toca_core.schedule")
    level.begin(schedule.Moment(schedule.Step(0, 0, 1)))
    level.hear_error(error, output, sigma=1.0)
    assert level.learn() == pytest.approx(0.5)

    region = run_inside(tiny_dit, pack, given=False).about.region
    inside = region.by_token(region.covered, torch.zeros(2, 4), 64)
    mean = pack_module("toca_core.calls.stack").weighted_mean
    squared = torch.zeros(2, 8, 8)
    squared[0, 0, 0], squared[1, 2:4, 2:4] = 81.0, 0.25
    torch.testing.assert_close(mean(squared.flatten(1), inside).sqrt(), torch.tensor([0.0, 0.5]))


def test_only_a_noise_mask_says_that_the_rest_is_known(tiny_dit, pack):
    """A user's mask says what matters; all of the picture is drawn all the same."""
    assert run_inside(tiny_dit, pack, given=False).level.errors.drawn == pytest.approx(1 / 16)
    assert run_inside(tiny_dit, pack, given=True).level.errors.drawn == 1
    assert run_inside(tiny_dit, pack).level.errors.drawn == 1


def test_at_module_level_a_mask_says_what_it_needs(tiny_dit, cached, masks):
    model, reports = cached(tiny_dit)
    tiny_dit.sample(painted(model, masks, square()))
    assert "needs level stack" in reports[0].note


def test_priority_moves_the_fresh_tokens_at_module_level(subject, cached, masks, pack):
    """Those in its bright half come first; at no strength nothing changes."""
    model, reports = cached(subject, fresh_ratio=0.3, cycle=3, staleness_weight=0.0, spread_bonus=0.0)
    mask = torch.zeros(1, 16, 16)
    mask[:, :, 8:] = 1
    results = [subject.sample(masks[2].execute(model, mask, strength)[0]) for strength in (0.0, 1.0, 50.0)]
    assert torch.equal(results[0], subject.sample(model))
    assert not torch.equal(results[0], results[2])
    assert len({report.flops for report in reports}) == 1


def test_priority_ranks_the_tokens(pack):
    selection = pack_module("toca_core.select.selection")
    config = pack.config.ToCaConfig(score="random", staleness_weight=0.0)
    priority = 1 + 1e6 * torch.tensor([[0.0, 1, 0, 1]])
    selector = selection.Selector(config, 2, ("mlp",), (1, 2, 2), 0, priority, start=lambda tokens: tokens - 4)
    selector.lay_out(2, 6, "cpu")                                   # two text tokens before the picture
    assert {frozenset(row) for row in selector.order("mlp")[..., :2].flatten(0, 1).tolist()} == {frozenset((3, 5))}


@pytest.mark.parametrize("patch", [(1, 2, 2), (2, 3, 1), (1, 1, 1)])
def test_means_of_patches_are_those_of_what_is_there(pack, patch):
    from tools.pack import pack_module
    values = torch.rand(2, 3, 7, 5)
    expected = torch.nn.functional.avg_pool3d(values[:, None], patch, ceil_mode=True)[:, 0]
    torch.testing.assert_close(pack_module("toca_core.select.regions").patch_means(values, patch), expected)
