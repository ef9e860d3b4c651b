"""Masks over picture models whose blocks are told part by part: text in a stream of its own, before the picture in one stream with it, or
in the context alone. Tokens inside are computed at every step."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tools.pack import pack_module

from .conftest import answers_to_one_input, checked_model

STACK = {"level": "stack", "cycle": 4, "tolerance": None, "repayment": 0.0, "mask_dilation": 0}
APART = ["qwen_image", "mage_flow", "sd3", "sd35_medium", "aura"]
JOINED = ["z_image", "z_image_pixel", "lumina2", "newbie", "omnigen2", "krea2"]
CONTEXT = ["cosmos2", "anima", "kandinsky5"]
STEPS = 6


@pytest.fixture(scope="module", params=[*APART, *JOINED, *CONTEXT])
def one(request):
    return checked_model(request.param)


@pytest.fixture(scope="module")
def painted():
    """painted(model, mask, dilation) -> the MODEL with a ToCa Token Mask."""
    node = pack_module("nodes.toca_token_mask").ToCaTokenMask
    return lambda model, mask, dilation=0: node.execute(model, mask, dilation)[0]


def square():
    """The second quarter from the top, the left half."""
    mask = torch.zeros(1, 16, 16)
    mask[:, 4:8, :8] = 1
    return mask


def noise_for(one, batch=1, odd=False):
    return torch.randn(batch, *(one.tiny.odd if odd else one.tiny.shape), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("given", [{}, {"batch": 2}, {"texts": (9, 5)}, {"cfg": 1.0}, {"odd": True}], ids=str)
def test_they_are_exact_where_nothing_else_has_changed(one, painted, given):
    """The same input twice: the keys and values of the others are what they would be, and each token has its own place."""
    model, reports = one.cached(order=0, **STACK)
    noise = noise_for(one, given.get("batch", 1), given.get("odd", False))
    texts = one.tiny.conditioning(*given.get("texts", (7, 7)), False)
    first, second = answers_to_one_input(painted(model, square()), noise, texts, given.get("cfg", 3.0))
    assert [step.kind for step in reports[-1].steps] == ["full", "partial"] and not reports[-1].note
    assert reports[-1].flops > without_a_mask(one, noise, texts, given.get("cfg", 3.0)).flops
    torch.testing.assert_close(second, first, rtol=1e-4, atol=1e-4)
    assert first.abs().max() > 1e-3


def without_a_mask(one, noise, texts, cfg):
    model, reports = one.cached(order=0, **STACK)
    answers_to_one_input(model, noise, texts, cfg)
    return reports[-1]


def test_what_is_computed_is_counted(one, painted):
    model, reports = one.cached(**STACK)
    with FlopCounterMode(display=False) as counter:
        result = one.tiny.sample(painted(model, square()), steps=STEPS)
    kinds = [step.kind for step in reports[0].steps]
    assert result.isfinite().all() and kinds == ["full", "partial", "partial", "partial", "full", "partial"] and not reports[0].note
    assert reports[0].flops == pytest.approx(counter.get_total_flops(), rel=0.02)


def test_text_in_one_stream_with_the_picture_is_computed_with_it(painted):
    """8 tokens of the mask, and 7 of text with 25 of padding, of 64 and 32 in the stream."""
    one = checked_model("z_image")
    model, reports = one.cached(**STACK)
    one.tiny.sample(painted(model, square()), steps=STEPS)
    shares = [step.fresh_share["blocks"] for step in reports[0].steps if step.kind == "partial"]
    assert shares == pytest.approx([40 / 96] * 4, abs=1e-5)


def test_they_follow_the_model(one, painted):
    """Inside nearer to the plain run than without the mask, whose tokens around it are computed too."""
    plain, errors = one.tiny.sample(steps=STEPS), []
    rows, columns = plain.shape[-2:]
    for mask in (None, square()):
        model, _ = one.cached(**STACK)
        result = one.tiny.sample(model if mask is None else painted(model, mask, dilation=1), steps=STEPS)
        errors.append((result - plain)[..., rows // 4:rows // 2, :columns // 2].square().mean())
    assert errors[1] < errors[0]


def test_everything_is_the_plain_run_and_nothing_stays(one, painted):
    plain = one.tiny.sample(steps=STEPS)
    model, reports = one.cached(**STACK)
    assert torch.equal(one.tiny.sample(painted(model, torch.ones(1, 8, 8)), steps=STEPS), plain)
    assert reports[0].calls("partial") == 0
    one.tiny.sample(painted(model, square()), steps=STEPS)
    assert not any("forward" in module.__dict__ for module in one.tiny.diffusion_model.modules())
    assert torch.equal(one.tiny.sample(steps=STEPS), plain)


@pytest.mark.parametrize("name", ["qwen_edit", "qwen_layered", "omnigen2", "krea2_edit", "mage_flow"])
def test_reference_pictures_beside_the_picture(painted, name):
    """They are forecast like every token outside the mask, and the picture's are still found."""
    one = checked_model(name)
    model, reports = one.cached(order=0, **STACK)
    first, second = answers_to_one_input(painted(model, square()), noise_for(one), one.tiny.conditioning(7, 7, True), 3.0)
    assert [step.kind for step in reports[-1].steps] == ["full", "partial"] and not reports[-1].note
    torch.testing.assert_close(second, first, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name, why", [("qwen_edit_timestep_zero", "timestep of its own"), ("krea2_timestep_zero", "timestep of its own"),
                                       ("flux2_timestep_zero", "timestep of its own"), ("z_image_omni", "lie among the picture's tokens"),
                                       ("ernie", "cannot compute single tokens"), ("hidream", "cannot compute single tokens")])
def test_where_none_can_be_computed_alone_it_is_said(painted, name, why):
    one = checked_model(name)
    model, reports = one.cached(**STACK)
    result = one.tiny.sample(painted(model, square()), steps=STEPS, reference=one.tiny.reference)
    assert result.isfinite().all() and why in reports[0].note


def test_a_share_of_the_tokens_without_a_mask(one):
    """`refresh_ratio` chooses among the picture's tokens; text that they attend to is computed with them."""
    model, reports = one.cached(order=0, refresh_ratio=0.25, refresh="random", **STACK)
    first, second = answers_to_one_input(model, noise_for(one), one.tiny.conditioning(7, 7, False), 3.0)
    assert reports[-1].steps[-1].kind == "partial" and not reports[-1].note
    torch.testing.assert_close(second, first, rtol=1e-4, atol=1e-4)
