"""The core by itself: a small torch model in a plain loop, cached without a host."""

import itertools
import subprocess
import sys

import pytest
import torch
from torch import nn

import toca_core
from tests.conftest import PROJECT
from tests.peak import Peak
from toca_core.calls.stack import StackCall
from toca_core.checks import ConfigError
from toca_core.families.contract import ContractError
from toca_core.families.tokens import TokenStack
from toca_core.keep import storage
from toca_core.keep.forecast import Anchors
from toca_core.keep.storage import Store

SIGMAS = torch.linspace(1, 0, 21).tolist()


class Block(nn.Module):
    """x -> x + tanh(W x) (1 + time); counts its calls."""

    def __init__(self, seed: int, width: int = 6):
        super().__init__()
        self.linear, self.calls = nn.Linear(width, width), 0
        with torch.no_grad():
            self.linear.weight.copy_((0.54 / width) ** 0.5 * torch.randn(width, width, generator=torch.Generator().manual_seed(seed)))
            self.linear.bias.zero_()

    def forward(self, x, time):
        self.calls += 1
        return x + torch.tanh(self.linear(x)) * (1 + time)


class Pair(nn.Module):
    """Two streams, text first: (text, picture) -> (text, picture)."""

    def __init__(self, seed: int):
        super().__init__()
        self.inner = Block(seed)

    def forward(self, text, picture, time):
        return self.inner(text, time), self.inner(picture, time) + text.mean(1, keepdim=True)


class Model(nn.Module):
    """Pictures (B, 6, H, W) -> velocity; its blocks lie in a dict under an unusual name."""

    def __init__(self, depth: int = 4, width: int = 6):
        super().__init__()
        self.rooms = nn.ModuleDict({f"room {index}": Block(index, width) for index in range(depth)})

    def forward(self, x, sigma):
        tokens = x.flatten(2).transpose(1, 2)
        for block in self.rooms.values():
            tokens = block(tokens, sigma)
        return tokens.transpose(1, 2).reshape(x.shape) * 0.2

    @property
    def calls(self) -> int:
        return next(iter(self.rooms.values())).calls


class Joint(nn.Module):
    def __init__(self, depth: int = 3):
        super().__init__()
        self.pairs = nn.ModuleList(Pair(index) for index in range(depth))

    def forward(self, x, sigma):
        tokens, text = x.flatten(2).transpose(1, 2), torch.ones(x.shape[0], 2, 6)
        for pair in self.pairs:
            text, tokens = pair(text, tokens, sigma)
        return tokens.transpose(1, 2).reshape(x.shape) * 0.1


def sample(model, predict, seed: int = 0, batch: int = 2):
    x = torch.randn(batch, 6, 4, 5, generator=torch.Generator().manual_seed(seed))
    with torch.inference_mode():
        for sigma, following in itertools.pairwise(SIGMAS):
            x = x + (following - sigma) * predict(sigma, x)
    return x


def cached(model, **settings):
    """-> (the sample of a cached run, its report)."""
    loop = toca_core.CachedLoop(model, SIGMAS, **settings)
    return sample(model, lambda sigma, x: loop(sigma, x, lambda: model(x, sigma))), loop.finish()


@pytest.fixture
def model():
    return Model()


@pytest.fixture
def plain(model):
    return sample(model, lambda sigma, x: model(x, sigma))


@pytest.mark.parametrize("settings", [
    {"level": "stack", "blocks": "rooms"}, {"level": "stack"}, {"level": "output"}, {}], ids=["entry", "found", "output", "auto"])
def test_at_every_level_steps_are_saved_and_a_tolerance_of_0_changes_nothing(model, plain, settings):
    exact, _ = cached(model, tolerance=0, **settings)
    assert torch.equal(exact, plain)
    before = model.calls
    result, report = cached(model, tolerance=5.0, **settings)
    assert model.calls - before == report.calls("full") < len(SIGMAS) - 1            # every full step really ran, and no other
    assert report.calls("full") + report.calls("partial") == len(SIGMAS) - 1
    assert (result - plain).norm() / plain.norm() < 0.05
    assert torch.equal(cached(model, tolerance=5.0, **settings)[0], result)


def test_nothing_is_left_on_the_model(model, plain):
    before = {name: sorted(module.__dict__) for name, module in model.named_modules()}
    for settings in ({"blocks": "rooms"}, {"level": "output"}, {}):
        cached(model, tolerance=5.0, **settings)
    assert {name: sorted(module.__dict__) for name, module in model.named_modules()} == before
    assert torch.equal(sample(model, lambda sigma, x: model(x, sigma)), plain)


def test_the_level_is_told_and_where_the_blocks_were_found(model):
    assert "found in its first call: rooms" in cached(model, tolerance=5.0)[1].note
    assert cached(model, tolerance=5.0)[1].settings["level"] == "stack"


def test_a_model_without_blocks_is_forecast_by_its_output():
    model = nn.Sequential(nn.Conv2d(6, 6, 1), nn.Tanh())

    def run(**settings):
        loop = toca_core.CachedLoop(model, SIGMAS, **settings)
        return sample(model, lambda sigma, x: loop(sigma, x, lambda: model(x))), loop.finish()
    _, report = run(tolerance=5.0)
    assert report.settings["level"] == "output" and report.calls("partial") > 5 and "could not be told" in report.note


def test_two_streams_are_found_and_stated():
    model = Joint()
    plain = sample(model, lambda sigma, x: model(x, sigma))
    stated, report = cached(model, tolerance=5.0, blocks=TokenStack("pairs", ("text", "picture"), "picture"))
    found, same = cached(model, tolerance=5.0)
    assert report.calls("partial") > 5 and (stated - plain).norm() / plain.norm() < 0.05
    assert same.settings["level"] == "stack" and "pairs" in same.note and same.calls("partial") > 5


@pytest.mark.parametrize("predicts", ["noise", "denoised"])
def test_whatever_the_model_predicts(model, predicts):
    """Standard deviations in place of shares; at a tolerance of 0 the model's own numbers come back, to the bit."""
    loop = toca_core.CachedLoop(model, [4.0, 2.0, 1.0, 0.0], predicts, scaled=predicts == "noise", tolerance=0)
    x = torch.randn(1, 6, 4, 4)
    assert torch.equal(loop(4.0, x, lambda: model(x, 4.0)), model(x, 4.0))


def test_two_pictures_cost_what_each_costs(model):
    """In blocks of whose modules nothing is known too."""
    spent = []
    for batch in (1, 2, 3):
        loop = toca_core.CachedLoop(model, SIGMAS, blocks="rooms", level="stack", tolerance=0)
        sample(model, lambda sigma, x, loop=loop: loop(sigma, x, lambda: model(x, sigma)), batch=batch)
        spent.append(loop.finish().plain_flops)
    assert spent == [spent[0], 2 * spent[0], 3 * spent[0]] and spent[0] > 2 * 20 * 4 * 20 * 6 * 6      # steps, blocks, tokens, products


def test_branches_of_a_step_are_kept_apart(model):
    loop = toca_core.CachedLoop(model, SIGMAS, blocks="rooms", tolerance=5.0)

    def guided(sigma, x):
        cond, uncond = loop(sigma, x, lambda: model(x, sigma), "cond"), loop(sigma, x, lambda: model(-x, sigma), "uncond")
        return uncond + 2 * (cond - uncond)
    plain = sample(model, lambda sigma, x: model(-x, sigma) + 2 * (model(x, sigma) - model(-x, sigma)))
    result, report = sample(model, guided), loop.finish()
    assert len(report.steps) == len(SIGMAS) - 1 and report.calls("partial") > 3
    assert (result - plain).norm() / plain.norm() < 0.1


@pytest.mark.parametrize("blocks, named", [
    ("halls", "there is no halls"), (TokenStack("rooms", "tokens"), "takes no argument tokens; it takes x, time"),
    (TokenStack("rooms", ("x", "time"), "picture"), "the picture is picture, which is none of the streams x, time"),
    (TokenStack("rooms", side="middle"), "the side is 'middle'")], ids=["path", "stream", "picture", "side"])
def test_blocks_that_are_not_there_are_refused_by_name(model, blocks, named):
    with pytest.raises(ContractError, match=f"Model, .*{named}"):
        cached(model, blocks=blocks)


def test_settings_that_cannot_be_are_refused_by_name(model):
    with pytest.raises(ConfigError, match="predicts is 'x'"):
        toca_core.CachedLoop(model, SIGMAS, "x")
    with pytest.raises(ConfigError, match="level is 'module'"):
        toca_core.CachedLoop(model, SIGMAS, level="module")


def test_the_example_runs_without_a_host():
    done = subprocess.run([sys.executable, str(PROJECT / "demo/plain_loop.py")], capture_output=True, text=True, env={"PATH": ""})
    assert done.returncode == 0, done.stderr
    assert "partial" in done.stdout and "Relative difference" in done.stdout


# ---- memory for a moment ----


@pytest.mark.parametrize("linear", [True, False], ids=["repaying", "comparing"])
def test_what_a_full_step_takes_for_a_moment_is_little_beside_the_cache(monkeypatch, linear):
    """And never more than is foreseen. The newest residual lies where the tokens before the blocks were; the tokens that go on in place
    of the last block's are the model's."""
    found, original = [], StackCall.leave

    def leave(call, tokens):
        with Peak() as peak:
            repaid = original(call, tokens)
        need = call.bound.stack_need(call.about.config, call.about.sizes, tokens.itemsize)
        if len(call.cache.anchors.times) > 1:
            found.append((peak.most - (0 if repaid is None else repaid.nbytes), call.cache.bytes, need.passing, repaid is not None))
        return repaid

    monkeypatch.setattr(StackCall, "leave", leave)
    model = Model(2, width=256)
    loop = toca_core.CachedLoop(model, SIGMAS, blocks="rooms", tolerance=0.05, linear=linear)
    x = torch.randn(2, 256, 128, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        for sigma, following in list(itertools.pairwise(SIGMAS))[:7]:
            x = x + (following - sigma) * loop(sigma, x, lambda now=x, at=sigma: model(now, at))
    assert len(found) > 2 and any(repaid for *_, repaid in found) == linear
    for passing, held, foreseen, _ in found:
        assert 0 < passing < 0.1 * held and passing <= foreseen


@pytest.mark.parametrize("settings", [{"order": 1}, {"order": 2}, {"order": 1, "store": "bf16"},
                                      {"order": 1, "store": "fp8"}], ids=str)
def test_trust_is_learned_in_little_memory(settings):
    """Beside the anchor itself, where it is kept in another form."""
    anchors = Anchors(**{**settings, "store": Store(settings.get("store", "same"))})
    for time in range(6):
        feature = torch.randn(2, 8192, 256, generator=torch.Generator().manual_seed(time))
        with Peak() as peak:
            anchors.add(float(time), feature)
        newest = anchors.features[0]
        if time > 3:
            assert 0 < peak.most - (0 if newest is feature else newest.nbytes) < 0.1 * anchors.bytes


def test_piece_by_piece_is_as_in_one(monkeypatch):
    """Trust, forecasts and what is kept, to the last bit, whatever the size of the pieces."""
    def learned(dtype, small):
        monkeypatch.setitem(storage.SMALL_PIECE, "cpu", small)
        anchors, generator = Anchors(2, store=Store(dtype)), torch.Generator().manual_seed(0)
        for time in (0.0, 1.0, 2.5, 3.0):
            anchors.add(time, torch.randn(2, 301, 12, generator=generator).bfloat16())
        expected = torch.empty(2, 301, 12, dtype=torch.bfloat16)
        for where, part in anchors.expected(4.0):
            expected[where] = part
        return anchors.trust, anchors.at(4.0), expected, anchors.newest()

    for dtype in ("same", "fp8"):
        whole = learned(dtype, 1 << 16)
        assert torch.equal(whole[1], whole[2])
        for one, other in zip(whole, learned(dtype, 1), strict=True):
            assert torch.equal(one, other)
