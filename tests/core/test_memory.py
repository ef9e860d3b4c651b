"""Bytes that a reader can count, and what is stored comes back."""

from contextlib import contextmanager
from dataclasses import replace
from unittest.mock import MagicMock

import pytest
import torch

from toca_core.checks import ConfigError
from toca_core.config import ToCaConfig
from toca_core.keep import memory
from toca_core.keep.forecast import Anchors
from toca_core.keep.memory import Budget, Need
from toca_core.keep.storage import Kept, Store

MODULE, STACK = ToCaConfig(), ToCaConfig(level="stack")


@pytest.mark.parametrize("itemsize, dtype, expected", [
    (4, "same", 4 * 64), (4, "bf16", 2 * 64), (4, "fp8", 64 + 4), (2, "bf16", 2 * 64), (2, "fp8", 64 + 4), (1, "fp8", 64)])
def test_one_token(itemsize, dtype, expected):
    assert memory.vector_bytes(64, itemsize, dtype) == expected


@pytest.mark.parametrize("settings, anchors, trusted", [
    ({}, 1, False),                                                 # a module's last output, whatever the order of stack forecasts is
    ({"stale_tokens": "forecast"}, 2, True),
    ({"stale_tokens": "forecast", "order": 2}, 3, True),
    ({"stale_tokens": "forecast", "order": 0}, 1, False),
    ({"level": "stack", "order": 0}, 1, False),
    ({"level": "stack"}, 2, True),
    ({"level": "stack", "trust": False}, 2, False)])
def test_ten_tokens_of_64_numbers(settings, anchors, trusted):
    config = ToCaConfig(**settings)
    assert memory.anchored(config, 10, 64, 2) == Need(anchors * 10 * 64 * 2, 40 if trusted else 0)
    held = Anchors(config.forecast_order, config.trust and config.forecast_order > 0)
    for step in range(6):
        held.add(float(step), torch.randn(2, 5, 64, dtype=torch.bfloat16))
    assert held.bytes == memory.anchored(config, 10, 64, 2).total


def test_scores_and_ages():
    """Three blocks of ten tokens: a score, and an age for each of two modules, of four bytes."""
    assert memory.selected(3, 10, 2) == Need(0, 3 * 10 * 3 * 4)


HALVES = {"same": 80, "bf16": 40, "fp8": 20}


def need_of(config):
    """Of 20 modules, a stack residual is a twentieth an anchor."""
    return Need(HALVES[config.cache_dtype] * (1 if config.level == "module" else (1 + config.order) / 20), 1)


@pytest.mark.parametrize("config, device, host, expected, words", [
    (MODULE, 81, None, {}, ""),
    (MODULE, 80, None, {"cache_dtype": "bf16"}, "81 bytes of a budget of 80 bytes: kept in bf16 instead, 41 bytes"),
    (MODULE, 40, None, {"cache_dtype": "fp8"}, "kept in fp8 instead, 21 bytes"),
    (MODULE, 20, 100, {"cache_device": "cpu"}, "kept in the host's memory instead, 81 bytes"),
    (MODULE, 20, 79, {"level": "stack"}, "level stack), 9 bytes"),
    (MODULE, 8, None, {"level": "stack", "order": 0}, "order 0), 5 bytes"),
    (MODULE, 4, None, None, "81 bytes of a budget of 4 bytes, and nothing smaller fits either: nothing is cached"),
    (MODULE, -9, None, None, "of a budget of 0 bytes"),
    (STACK, 8, None, {"cache_dtype": "bf16"}, "kept in bf16"),
    (replace(STACK, order=0), 4, None, {"cache_dtype": "bf16"}, "kept in bf16"),
    (replace(MODULE, cache_device="cpu"), 50, 40, {"cache_dtype": "bf16"}, "81 bytes of a budget of 40 bytes"),
    (replace(MODULE, cache_device="cpu"), 50, 80, {}, ""),           # scores and ages lie on the device
    (replace(MODULE, cache_dtype="bf16"), 40, None, {"cache_dtype": "fp8"}, "41 bytes of a budget of 40 bytes")])
def test_the_first_that_fits_is_chosen(config, device, host, expected, words):
    chosen, why = memory.choose(config, need_of, Budget(device, host))
    assert chosen == (None if expected is None else replace(config, **expected))
    assert words in why and bool(why) == bool(words)


def test_settings_that_would_keep_and_never_read_are_passed_over():
    config = ToCaConfig(cycle=1, mlp_cycle=3)
    assert memory.choose(config, need_of, Budget(19))[0] is None


@pytest.mark.parametrize("count, text", [(-5, "0 bytes"), (40, "40 bytes"), (2048, "2.0 KB"), (3.25 * 2**20, "3.2 MB"),
                                         (7.5 * 2**30, "7.5 GB")])
def test_readable(count, text):
    assert memory.readable(count) == text


@pytest.mark.parametrize("settings", [{"memory_budget": -1}, {"memory_budget": 2000}, {"cache_device": "disk"}, {"cache_dtype": "int4"}])
def test_settings_that_are_refused(settings):
    with pytest.raises(ConfigError, match=next(iter(settings))):
        ToCaConfig(**settings)


def test_what_is_kept_as_it_came_is_not_copied():
    tensor = torch.randn(1, 3, 8)
    store = Store("same", "cpu")
    assert store.put(tensor) is tensor and store.get(tensor) is tensor


@pytest.fixture
def card(monkeypatch):
    """A card that is only told of: what is asked of its streams is in card.mock_calls, and card.within is the stream that copies now."""
    card = MagicMock(within=None)

    @contextmanager
    def stream(one):
        card.within = one
        yield
        card.within = None
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: card.own)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: card.current)
    monkeypatch.setattr(torch.cuda, "stream", stream)
    return card


def on_card(card, name: str):
    """A tensor there: what it is asked goes to card.NAME."""
    part = getattr(card, name)
    part.device.type, part.shape, part.dtype = "cuda", (1, 2, 3), torch.float32
    return part


def test_what_goes_to_the_hosts_memory_is_copied_once_it_is_computed_and_not_overwritten_before(card, monkeypatch):
    made = {}
    monkeypatch.setattr(torch, "empty", lambda shape, **options: made.update(options, shape=shape) or card.host)
    card.host.copy_.side_effect = lambda part, non_blocking: made.update(copied_in=card.within, waits=not non_blocking)
    part = on_card(card, "part")
    assert Store("same", "cpu").to_host(part) is card.host
    assert made == {"shape": (1, 2, 3), "dtype": torch.float32, "pin_memory": True, "copied_in": card.own, "waits": False}
    asked = [name for name, *_ in card.mock_calls]
    assert asked.index("own.wait_stream") < asked.index("host.copy_") < asked.index("part.record_stream")
    card.own.wait_stream.assert_called_once_with(card.current)
    part.record_stream.assert_called_once_with(card.own)


def test_what_comes_back_is_waited_for_by_what_computes_and_its_memory_not_used_again_before(card):
    values, scale, there = (on_card(card, name) for name in ("values", "scale", "there"))
    values.is_pinned.return_value = scale.is_pinned.return_value = True
    copied_in = []
    values.to.side_effect = scale.to.side_effect = lambda *to, **how: copied_in.append((card.within, how)) or there
    store, kept = Store("fp8", "cpu"), Kept(values, scale, torch.float32, there.device)
    store.fetch(kept)
    assert copied_in == [(card.own, {"non_blocking": True})] * 2 and kept.fetched == (there, there, card.own.record_event())
    store.fetch(kept)                                               # it is under way
    assert len(copied_in) == 2
    back = store.get(kept)
    assert kept.fetched is None and back is (there.float() * there).to()
    card.current.wait_event.assert_called_once_with(card.own.record_event())
    assert [call.args for call in there.record_stream.call_args_list] == [(card.current,)] * 2


@pytest.mark.parametrize("dtype, given", [("bf16", torch.bfloat16), ("bf16", torch.float16)])
def test_no_more_bits_than_it_has(dtype, given):
    tensor = torch.randn(1, 3, 8).to(given)
    assert Store(dtype).put(tensor) is tensor


def test_bf16_rounds():
    tensor = torch.tensor([[[1.0, 1.0 + 2**-9, 3e38]]])
    store = Store("bf16")
    kept = store.put(tensor)
    assert kept.nbytes == 6 and kept.shape == tensor.shape and kept.device == tensor.device
    assert store.get(kept).tolist() == [[[1.0, 1.0, torch.tensor(3e38).bfloat16().item()]]]
    assert store.get(kept).dtype == torch.float32


@pytest.mark.parametrize("size", [1e-30, 1e-3, 1.0, 1e4, 1e30])
def test_fp8_keeps_every_token_to_a_sixteenth_of_its_largest_number(size):
    tensor = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(0)) * size
    tensor[0, 0] = 0
    tensor[1] *= 1000                                               # one token's size says nothing of another's
    store = Store("fp8")
    kept = store.put(tensor)
    assert isinstance(kept, Kept) and kept.nbytes == 2 * 5 * (32 + 4)
    back = store.get(kept)
    assert torch.isfinite(back).all() and back[0, 0].abs().max() == 0
    assert ((back - tensor).abs() <= tensor.abs().amax(-1, keepdim=True) / 16).all()


@pytest.mark.parametrize("dtype", ["same", "bf16", "fp8"])
def test_fresh_rows_are_stored_again(dtype):
    anchors = Anchors(0, store=Store(dtype))
    anchors.add(1.0, torch.ones(1, 4, 8))
    newest = anchors.newest()
    newest[:, 2] = 3.0
    anchors.renew(newest)
    torch.testing.assert_close(anchors.newest()[0, :, 0], torch.tensor([1.0, 1.0, 3.0, 1.0]))


def test_an_allocator_that_fails_is_known_from_other_errors():
    with pytest.raises(RuntimeError) as failed:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert memory.out_of_memory(failed.value)
    assert memory.out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"))
    assert not memory.out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def test_a_device_without_fp8_keeps_bf16_and_says_so():
    """Also where fp8 is only what would fit: then something smaller is kept, or nothing."""
    wanted = replace(MODULE, cache_dtype="fp8")
    assert memory.choose(wanted, need_of, Budget(81, fp8=False)) == (replace(MODULE, cache_dtype="bf16"), memory.NO_FP8)
    chosen, why = memory.choose(MODULE, need_of, Budget(40, fp8=False))
    assert chosen.level == "stack" and chosen.cache_dtype == "same" and "fp8" not in why
    chosen, why = memory.choose(wanted, need_of, Budget(8, fp8=False))
    assert chosen.cache_dtype == "bf16" and why.startswith(memory.NO_FP8 + ". The cache would take")
