"""One full and one partial call of a model whose arithmetic can be done in the head."""

import pytest
import torch
from torch import nn

from toca_core.calls.context import CallContext
from toca_core.calls.module import Call, module_cache
from toca_core.config import ToCaConfig
from toca_core.costs.account import Sizes
from toca_core.families.layout import Layout
from toca_core.families.sequential import SequentialStack
from toca_core.schedule import Cycle, Moment, Step
from toca_core.swap import swapped


class Plus(nn.Module):
    """Adds a number, and counts the tokens it was given."""

    def __init__(self, amount):
        super().__init__()
        self.amount, self.seen, self.num_heads = amount, [], 1
        self.qkv = nn.Linear(2, 6, bias=False)

    def forward(self, x):
        self.seen.append(x.shape[1])
        self.qkv(x)
        return x + self.amount


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.attn, self.mlp = Plus(10.0), Plus(100.0)

    def forward(self, x):
        x = x + self.attn(x)
        return x + self.mlp(x)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.out = nn.Identity(), nn.Identity()
        self.blocks = nn.ModuleList([Block()])

    def forward(self, x):
        return self.blocks[0](x)


LAYOUT = Layout(system="dit", per_token=("embed",),
                stacks=(SequentialStack(modules={"self_attn": "attn", "mlp": "mlp"}, projections={"self_attn": ("qkv",)}),))
SIZES, KINDS = Sizes(1, (1, 1, 4)), frozenset({"self_attn", "mlp"})
ATTENTION, MLP = LAYOUT.stacks[0].sites


@pytest.fixture
def session():
    """session(index, full, x) -> (output, call): the same cache from call to call."""
    model, config = Model(), ToCaConfig(fresh_ratio=0.25, cycle=4, score="self_attn", staleness_weight=0.0)
    bound, cycle = LAYOUT.bind(model), Cycle(config)

    def about(index, kinds):
        return CallContext(config, cycle, Moment(Step(index, index, 8)), SIZES, 1, kinds, bound)

    cache = module_cache(about(0, KINDS), seed=0)

    def run(index, full, x):
        kinds = cycle.full_kinds(Step(index, index, 8)) & KINDS
        assert kinds == (KINDS if full else frozenset())
        call = Call(about(index, kinds), cache)
        with torch.no_grad(), swapped(call.replacements()):
            return model(x), call
    run.model, run.cache = model, cache
    return run


def tokens(*values):
    return torch.tensor(values)[None, :, None].expand(1, -1, 2).clone()        # (1, N, 2), both channels alike


def test_full_call_is_the_plain_model(session):
    x = tokens(1.0, 2.0, 3.0, 4.0)
    output, call = session(0, True, x)
    # x + (x + 10) = 2x + 10, then 2 (2x + 10) + 100 = 4x + 120
    assert output[0, :, 0].tolist() == [124.0, 128.0, 132.0, 136.0]
    assert torch.equal(output, session.model(x))


def test_partial_call_recomputes_the_fresh_token_on_the_current_stream(session):
    session(0, True, tokens(1.0, 2.0, 3.0, 4.0))
    session.cache.selectors["", ""].basis[:] = torch.tensor([[[0.0, 0.0, 1.0, 0.0]]])        # token 2 is the fresh one
    output, call = session(1, False, tokens(5.0, 5.0, 5.0, 5.0))
    # attention is reused: x + 10 of the first call, 11 12 13 14; the stream before the MLP is 16 17 18 19;
    # the MLP's outputs kept from the first call, (2x + 10) + 100: 112 114 116 118; token 2 anew: 18 + 100
    assert output[0, :, 0].tolist() == [16 + 112.0, 17 + 114.0, 18 + 118.0, 19 + 118.0]
    assert session.model.blocks[0].mlp.seen == [4, 1] and session.model.blocks[0].attn.seen == [4]
    assert call.selected[MLP, 0].tolist() == [[2]]
    assert call.fresh == {ATTENTION: [0.0], MLP: [0.25]}


def test_a_fresh_token_stays_in_the_cache(session):
    session(0, True, tokens(1.0, 2.0, 3.0, 4.0))
    session.cache.selectors["", ""].basis[:] = torch.tensor([[[0.0, 0.0, 1.0, 0.0]]])
    output, call = session(1, False, tokens(5.0, 5.0, 5.0, 5.0))
    assert session.cache.load(MLP, 0, output, 0.0)[0, :, 0].tolist() == [112.0, 114.0, 118.0, 118.0]


def test_another_number_of_tokens_is_never_answered_from_the_cache(session):
    session(0, True, tokens(1.0, 2.0, 3.0, 4.0))
    x = tokens(1.0, 2.0, 3.0)
    output, call = session(1, False, x)
    assert torch.equal(output, session.model(x))


def test_forwards_are_restored_even_after_an_error():
    model = Model()
    with pytest.raises(ZeroDivisionError), swapped([(model.blocks[0].mlp, lambda x: 1 / 0)]):
        model(tokens(1.0))
    assert "forward" not in vars(model.blocks[0].mlp)


def test_a_forward_set_by_someone_else_comes_back():
    module = nn.Identity()
    module.forward = mine = lambda x: x + 1
    with swapped([(module, lambda x: x + 2)]):
        assert module(1) == 3
    assert module.forward is mine
