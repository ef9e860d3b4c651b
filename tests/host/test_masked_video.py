"""Masks over video models whose blocks are told part by part (Wan, LTX-Video): tokens inside are computed at every step."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tools.pack import pack_module

from .conftest import answers_to_one_input, checked_model

STACK = {"level": "stack", "cycle": 4, "tolerance": None, "repayment": 0.0, "mask_dilation": 0}
MODELS = ["wan_t2v", "wan_i2v", "wan22_5b", "wan22_camera", "ltxv"]
STEPS = 6


@pytest.fixture(scope="module", params=MODELS)
def one(request):
    return checked_model(request.param)


@pytest.fixture(scope="module")
def painted():
    """painted(model, mask) -> the MODEL with a ToCa Token Mask."""
    node = pack_module("nodes.toca_token_mask").ToCaTokenMask
    return lambda model, mask: node.execute(model, mask, 0)[0]


def moving(frames: int = 3, size: int = 16):
    """A square that moves to the right, a mask for each latent frame, on a picture of 8 x 8 latents."""
    mask = torch.zeros(frames, size, size)
    for frame in range(frames):
        mask[frame, 4:8, 4 * frame:4 * frame + 4] = 1
    return mask


def inside(one):
    """The same on the model's latent (3, rows, columns)."""
    return torch.nn.functional.max_pool2d(moving()[:, None], 16 // one.tiny.shape[-1])[:, 0] > 0


def rows(model):
    """How many tokens a block's queries are made for, call by call."""
    seen = []
    queries = model.blocks[1].self_attn.q if hasattr(model, "blocks") else model.transformer_blocks[1].attn1.to_q
    return seen, queries.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape[1]))


def test_the_tokens_of_each_frames_mask_are_computed_at_every_step(one, painted):
    model, reports = one.cached(**STACK)
    seen, hook = rows(one.tiny.diffusion_model)
    with FlopCounterMode(display=False) as counter:
        result = one.tiny.sample(painted(model, moving()), steps=STEPS)
    hook.remove()
    every, few = max(seen), min(seen)
    kinds = [step.kind for step in reports[0].steps]
    assert result.isfinite().all() and kinds == ["full", "partial", "partial", "partial", "full", "partial"] and not reports[0].note
    assert every == 3 * 4 * 4 and few == int(torch.nn.functional.max_pool2d(moving()[:, None], 4).sum())
    assert seen.count(few) == seen.count(every) * 2                 # four partial steps, two full ones
    # A picture's tokens in the context are not among a call's sizes: 5% of what so tiny a model computes.
    pictured = getattr(one.tiny.diffusion_model, "img_emb", None) is not None
    assert reports[0].flops == pytest.approx(counter.get_total_flops(), rel=0.06 if pictured else 0.02)


@pytest.mark.parametrize("given", [{}, {"batch": 2}, {"texts": (9, 5)}, {"cfg": 1.0}], ids=str)
def test_they_are_exact_where_nothing_else_has_changed(one, painted, given):
    """The same input twice: the keys and values of the others are what they would be."""
    model, reports = one.cached(order=0, **STACK)
    first, second = twice(one, painted(model, moving()), **given)
    assert [step.kind for step in reports[-1].steps] == ["full", "partial"]
    torch.testing.assert_close(second, first, rtol=1e-4, atol=1e-4)
    assert first.abs().max() > 1e-3


def twice(one, model, batch=1, texts=(7, 7), cfg=3.0):
    noise = torch.randn(batch, *one.tiny.shape, generator=torch.Generator().manual_seed(1))
    return answers_to_one_input(model, noise, one.tiny.conditioning(*texts, False), cfg)


def test_they_follow_the_model_and_the_others_the_forecast(one, painted):
    """Inside nearer to the plain run than without the mask; outside as near as without it."""
    plain = one.tiny.sample(steps=STEPS)
    errors = []
    for mask in (None, moving()):
        model, _ = one.cached(**STACK)
        result = one.tiny.sample(model if mask is None else painted(model, mask), steps=STEPS)
        difference = (result - plain).square().mean(1)[0]
        errors.append((difference[inside(one)].mean(), difference[~inside(one)].mean()))
    (without, around), (computed, beside) = errors
    assert computed < without and beside < 1.5 * around


def test_everything_is_the_plain_run_and_nothing_stays(one, painted):
    plain = one.tiny.sample(steps=STEPS)
    model, reports = one.cached(**STACK)
    assert torch.equal(one.tiny.sample(painted(model, torch.ones(1, 8, 8)), steps=STEPS), plain)
    assert reports[0].calls("partial") == 0
    one.tiny.sample(painted(model, moving()), steps=STEPS)
    assert not any("forward" in module.__dict__ for module in one.tiny.diffusion_model.modules())
    assert torch.equal(one.tiny.sample(steps=STEPS), plain)


@pytest.mark.parametrize("name", ["wan_fun_control", "wan_t2v", "wan_scail", "ltxv_guided"])
def test_a_reference_among_the_tokens_is_said(painted, name):
    """Its place is not known, so no token is computed alone, and the report says so."""
    one = checked_model(name)
    model, reports = one.cached(**STACK)
    result = one.tiny.sample(painted(model, moving()), steps=STEPS, reference=True)
    assert result.isfinite().all() and "reference pictures lie among" in reports[0].note


@pytest.mark.parametrize("name", ["wan22_5b", "ltxv"])
def test_frames_with_a_time_of_their_own(painted, name):
    """The first frame is held, whose modulation is another: the fresh tokens get that of their frame (Wan), or their own (LTX-Video)."""
    one = checked_model(name)
    model, reports = one.cached(**STACK)
    result = one.tiny.sample(painted(model, moving()), steps=STEPS, reference=True)
    plain = one.tiny.sample(steps=STEPS, reference=True)
    without = one.tiny.sample(one.cached(**STACK)[0], steps=STEPS, reference=True)
    assert reports[0].calls("partial") == 4 and not reports[0].note
    later = inside(one)
    later[0] = False                                                # the first frame is held
    assert (result - plain).square().mean(1)[0][later].mean() < (without - plain).square().mean(1)[0][later].mean()


def test_guides_of_a_strength_of_their_own_hinder():
    """The model gives them a mask over all tokens of its own making; the mask of the text is none of those."""
    model, hindrance = checked_model("ltxv").tiny.diffusion_model, pack_module("nodes.host.calls").hindrance
    x, words = torch.zeros(1, 128, 3, 4, 4), torch.ones(1, 7)
    assert not hindrance(model, None, x, {"attention_mask": words, "guide_attention_entries": None}, {})
    assert "guide" in hindrance(model, None, x, {"guide_attention_entries": [{"strength": 0.5}]}, {})
    other = checked_model("pixart_sigma").tiny.diffusion_model
    assert "mask" in hindrance(other, None, x, {"attention_mask": words}, {})
