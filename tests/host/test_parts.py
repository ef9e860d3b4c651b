"""Level module on today's models, held against a slow and plain one written here: every token is computed, and those that are not fresh are
put back one by one; scores are read from whole attention maps, in float64."""

import sys
from contextlib import ExitStack, contextmanager
from functools import partial
from types import SimpleNamespace

import pytest
import torch

from tools.models import EVERY
from tools.pack import pack_module

from .conftest import checked_model

CYCLE, RATIO, STEPS, BONUS, CELL = 3, 0.3, 6, 0.6, 2

# Of every stack: its blocks; modules whose output is kept as a whole; those that are computed token by token, each with its stream; the
# streams in the order in which their tokens lie in the attention.
MODELS = {
    "wan_t2v": [("blocks", ["self_attn"], {"cross_attn": "", "ffn": ""}, [""])],
    "wan_vace": [("blocks", ["self_attn"], {"cross_attn": "", "ffn": ""}, [""])],
    "ltxv": [("transformer_blocks", ["attn1"], {"attn2": "", "ff": ""}, [""])],
    "cosmos2": [("blocks", ["self_attn"], {"cross_attn": "", "mlp": ""}, [""])],
    "anima": [("blocks", ["self_attn"], {"cross_attn": "", "mlp": ""}, [""])],
    "hunyuan_dit": [("blocks", ["attn1"], {"attn2": "", "mlp": ""}, [""])],
    "kandinsky5": [("visual_transformer_blocks", ["self_attention"], {"cross_attention": "", "feed_forward": ""}, [""])],
    "z_image": [("layers", ["attention"], {"feed_forward": ""}, [""])],
    "lumina2": [("layers", ["attention"], {"feed_forward": ""}, [""])],
    "omnigen2": [("layers", ["attn"], {"feed_forward": ""}, [""])],
    "krea2": [("blocks", ["attn"], {"mlp": ""}, [""])],
    "qwen_image": [("transformer_blocks", ["attn"], {"img_mlp": "img", "txt_mlp": "txt"}, ["txt", "img"])],
    "sd35_medium": [("joint_blocks", ["x_block.attn.proj", "context_block.attn.proj", "x_block.attn2.proj"],
                     {"x_block.mlp": "img", "context_block.mlp": "txt"}, ["txt", "img"])],
    "aura": [("double_layers", ["attn"], {"mlpX": "img", "mlpC": "txt"}, ["txt", "img"]), ("single_layers", ["attn"], {"mlp": ""}, [""])],
    "hidream": [("double_stream_blocks", ["block.attn1"], {"block.ff_i": "img", "block.ff_t": "txt"}, ["img", "txt"]),
                ("single_stream_blocks", ["block.attn1"], {"block.ff_i": ""}, [""])],
}
# Where the picture lies in streams that hold text too, last, first or behind so many tokens of text and padding.
PLACES = {"omnigen2": "last", "aura": "last", "hidream": "first", "z_image": 32, "lumina2": 7, "krea2": 7}


class Slow:
    """One sampling run of a model in whose modules tokens are put back."""

    def __init__(self, model, grid, bonus: float, settled: bool, place):
        """settled: by how little a token settles on a word (s2), not by what it receives (s1)."""
        self.model, self.grid, self.bonus, self.settled, self.place, self.step = model, grid, bonus, settled, place, -1
        self.kept, self.ages, self.received = {}, {}, {}

    @property
    def full(self) -> bool:
        return self.step % CYCLE == 0

    @contextmanager
    def standing_in(self, stacks):
        with ExitStack() as undo:
            self.put(undo, self.model, self.counting)
            for path, whole, by_token, order in stacks:
                for index, block in enumerate(self.model.get_submodule(path)):
                    self.put(undo, block, self.watching, (path, index), order)
                    for name in whole:
                        if (module := find(block, name)) is not None:
                            self.put(undo, module, self.reusing)
                    for name, stream in by_token.items():
                        if (module := find(block, name)) is not None:
                            self.put(undo, module, self.refreshing, (path, index), stream)
            yield

    @staticmethod
    def put(undo, module, made, *about):
        module.forward = made(module, module.forward, *about)
        undo.callback(module.__dict__.pop, "forward")

    def counting(self, module, forward):
        def run(*args, **kwargs):
            self.step += 1
            return forward(*args, **kwargs)
        return run

    def watching(self, module, forward, place, order):
        """Of the mean of the heads: how much every token receives in the block's first attention, or 1 + the entropy of its second."""
        def run(*args, **kwargs):
            seen = []

            def attention(function, q, k, v, heads, *more, skip_reshape=False, **named):
                each = q.shape[-1] if skip_reshape else q.shape[-1] // heads
                q64, k64 = ((x if skip_reshape else x.unflatten(-1, (-1, each)).transpose(1, 2)).double() for x in (q, k))
                k64 = k64.repeat_interleave(q64.shape[1] // k64.shape[1], dim=1)
                seen.append(torch.softmax(q64 @ k64.transpose(-1, -2) * each ** -0.5, dim=-1).mean(dim=1))
                if not self.settled:
                    self.received[place] = seen[0].sum(dim=1), order
                elif len(seen) > 1:                                 # the second one is of the text
                    self.received[place] = 1 - (seen[1] * torch.log(seen[1] + 1e-7)).sum(dim=-1), order
                return function(q, k, v, heads, *more, skip_reshape=skip_reshape, **named)

            if not self.full:
                return forward(*args, **kwargs)
            if "transformer_options" not in kwargs:                 # Hunyuan-DiT, whose attentions know none
                with pytest.MonkeyPatch.context() as patch:
                    own = sys.modules["comfy.ldm.hydit.attn_layers"]
                    patch.setattr(own, "optimized_attention", partial(attention, own.optimized_attention))
                    return forward(*args, **kwargs)
            options = {**kwargs["transformer_options"], "optimized_attention_override": attention}
            return forward(*args, **{**kwargs, "transformer_options": options})
        return run

    def reusing(self, module, forward):
        def run(*args, **kwargs):
            if self.full:
                self.kept[module] = forward(*args, **kwargs)
            return self.kept[module]
        return run

    def refreshing(self, module, forward, place, stream):
        def run(x, *args, **kwargs):
            returned = forward(x, *args, **kwargs)
            [output] = returned if isinstance(returned, tuple) else [returned]
            every = output.flatten(1, -2)
            if self.full:
                self.kept[module], self.ages[module] = every.clone(), [[0] * every.shape[1] for _ in every]
                return returned
            for sample, ages in enumerate(self.ages[module]):
                fresh = self.fresh(self.scores(place, stream, sample, len(ages)), ages, stream)
                for token in range(len(ages)):
                    ages[token] = 0 if token in fresh else ages[token] + 1
                    if token in fresh:
                        self.kept[module][sample, token] = every[sample, token]
            kept = self.kept[module].view(output.shape).clone()
            return (kept,) if isinstance(returned, tuple) else kept
        return run

    def scores(self, place, stream, sample, tokens):
        received, order = self.received[place]
        start = 0 if order.index(stream) == 0 else received.shape[1] - tokens
        own = received[sample, start:start + tokens]
        return (own / own.norm()).tolist()

    def fresh(self, scores, ages, stream):
        """The tokens of the highest scores, stale ones raised; of the picture's, where its place is known, the best of every square too."""
        raised = [score + 0.25 * age / CYCLE for score, age in zip(scores, ages, strict=True)]
        frames, rows, columns = self.grid
        count = frames * rows * columns
        start = {"last": len(raised) - count, "first": 0, "": 0}.get(self.place, self.place)
        if self.bonus and stream != "txt" and (self.place or len(raised) == count):
            squares = {}
            for token, score in enumerate(raised[start:start + count]):
                place = token // (rows * columns), token // columns % rows // CELL, token % columns // CELL
                if place not in squares or score > raised[start + squares[place]]:
                    squares[place] = token
            for token in squares.values():
                raised[start + token] *= 1 + self.bonus
        return sorted(range(len(raised)), key=raised.__getitem__)[-int(RATIO * len(raised)):]


def find(block, path):
    try:
        return block.get_submodule(path)
    except AttributeError:
        return None


@pytest.fixture(params=MODELS)
def checked(request):
    return request.param, checked_model(request.param)


@pytest.mark.parametrize(("score", "bonus"), [("self_attn", 0.0), ("self_attn", BONUS), ("cross_attn", 0.0)], ids=["s1", "s1 and s4", "s2"])
def test_what_is_not_fresh_is_what_it_was(checked, score, bonus):
    """With s2 cross-attention is kept as a whole, so that its rows are not renewed."""
    name, one = checked
    stacks = MODELS[name]
    if score not in one.scores():
        pytest.skip("the model has no such score")
    if score == "cross_attn":
        stacks = [(path, [*whole, *list(by_token)[:1]], dict(list(by_token.items())[1:]), order) for path, whole, by_token, order in stacks]
    model, reports = one.cached(level="module", cycle=CYCLE, fresh_ratio=RATIO, score=score, score_queries=1.0, spread_bonus=bonus,
                                spread_cell=CELL, cross_attn_share=float(score == "self_attn"))
    result = one.tiny.sample(model, steps=STEPS, cfg=1.0, batch=2)
    sizes = one.pack["systems"].system_of(one.tiny.diffusion_model).sizes or one.pack["sizes"].latent_sizes
    grid = sizes(one.tiny.diffusion_model, torch.zeros(2, *one.tiny.shape), torch.zeros(2, 7, 1), {}).grid if bonus else (0, 0, 0)
    slow = Slow(one.tiny.diffusion_model, grid, bonus, score == "cross_attn", PLACES.get(name, ""))
    with slow.standing_in(stacks):
        expected = one.tiny.sample(steps=STEPS, cfg=1.0, batch=2)
    plain = one.tiny.sample(steps=STEPS, cfg=1.0, batch=2)
    assert [step.kind for step in reports[0].steps] == ["full" if index % CYCLE == 0 else "partial" for index in range(STEPS)]
    assert slow.step == STEPS - 1 and (result - plain).abs().max() > 1e-3 * plain.abs().max()
    assert (result - expected).abs().max() < 1e-5 * expected.abs().max()


def test_what_is_kept_is_not_written_into(checked):
    """A block may write into what its modules give it. Then what is kept would be another thing at the next step."""
    _, one = checked
    model, _ = one.cached(level="module", **EVERY)
    module = one.pack["module"]
    kept = []
    store = module.Call.keep

    def keep(self, site, block, output):
        kept.append((output, output.clone()))
        store(self, site, block, output)
    module.Call.keep = keep
    try:
        one.tiny.sample(model, steps=2)
    finally:
        module.Call.keep = store
    assert kept and all(torch.equal(output, before) for output, before in kept)


def test_a_model_that_gives_no_score_has_its_tokens_chosen_at_random():
    """Its attention takes none of the host's options, so that it cannot be read."""
    one = checked_model("ernie")
    node = one.pack["node"].ToCaCache.execute
    options = {"fresh_ratio": RATIO, "cycle": CYCLE, "level": "module"}
    result = one.tiny.sample(node(one.tiny.model, True, "custom", **options).args[0], steps=STEPS)
    assert not torch.equal(result, one.tiny.sample(steps=STEPS))
    with pytest.raises(one.pack["config"].ConfigError, match="score is self-attention, which this model does not give"):
        node(one.tiny.model, True, "custom", score="self-attention", **options)


def test_preset_paper_says_whose_settings_it_takes():
    one = checked_model("wan_t2v")
    model, reports = one.cached("paper")
    one.tiny.sample(model, steps=8)
    assert reports[0].settings["level"] == "module" and reports[0].calls("partial")
    assert "the settings are those published for Open-Sora" in reports[0].note


def test_a_modulation_laid_out_over_the_tokens_is_the_hosts():
    """Of a first frame that is held: one modulation up to its end, another for the rest, in any order, with or without an end."""
    from comfy.ldm.flux.layers import apply_mod
    joint = pack_module("toca_core.families.joint")
    x, modulation = torch.randn(2, 7, 4), torch.randn(2, 2, 4)
    for dims in ([(0, 3, 0), (3, None, 1)], [(0, None, 1)], [(3, 7, 1), (0, 3, 0)]):
        assert torch.equal(x * joint.per_token(modulation, dims, 7), apply_mod(x.clone(), modulation, None, dims))


@pytest.mark.parametrize("kind", ["mlp", "cross_attn"])
def test_what_a_module_is_given_for_each_token_is_cut_to_the_rows_of_an_mlp(kind):
    """By place and by name; a number, and what is not of the picture's tokens, stays; an attention's context is never cut."""
    module = object.__new__(pack_module("toca_core.families.standing").PartForward)
    module.part, module.stack = SimpleNamespace(kind=kind, streams={"picture": "x"}), SimpleNamespace(flat=lambda tokens: tokens)
    module.named, seen = {"x": 0, "shift": 1, "scale": 2, "gate": 3, "gain": 4}, {}

    def forward(x, shift, scale, gate, gain):
        seen.update(x=x, shift=shift, scale=scale, gate=gate, gain=gain)
        return x

    module.forward = forward
    x, shift, scale, gate = (torch.randn(2, tokens, 3) for tokens in (5, 5, 5, 1))
    module.run_rows(x[:, [4, 1]], x, lambda value: value[:, [4, 1]], (x, shift), {"scale": scale, "gate": gate, "gain": 2.0})
    cut = (lambda value: value[:, [4, 1]]) if kind == "mlp" else (lambda value: value)
    assert torch.equal(seen["x"], x[:, [4, 1]]) and torch.equal(seen["gate"], gate) and seen["gain"] == 2.0
    assert torch.equal(seen["shift"], cut(shift)) and torch.equal(seen["scale"], cut(scale))
