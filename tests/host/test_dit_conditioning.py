"""The classes of a DiT through the host's own conditioning nodes, which were made for texts."""

import pytest
import torch

import nodes

from .conftest import Subject

ANT, BEE, CAT, ELK, NULL = 0, 1, 2, 4, 5          # of the tiny DiT's classes


@pytest.fixture
def classes(pack):
    """classes(0, 1) -> the CONDITIONING of these classes."""
    return lambda *labels: pack.dit_loader.conditioning(list(labels))


@pytest.fixture
def drawn(tiny_dit):
    """drawn(positive, negative) -> latents of a run with guidance, known ones from before."""
    def call(positive, negative, batch=2):
        return Subject("dit", tiny_dit.model, positive, negative).sample(steps=3, batch=batch)
    return call


def average(first, second, strength):
    return nodes.ConditioningAverage().addWeighted(first, second, strength)[0]


def concat(first, second):
    return nodes.ConditioningConcat().concat(first, second)[0]


def zero_out(conditioning):
    return nodes.ConditioningZeroOut().zero_out(conditioning)[0]


@pytest.mark.smoke
def test_a_class_zeroed_out_is_the_null_class(classes, drawn):
    """One class or a batch of them; guidance works."""
    expected = drawn(classes(BEE), classes(NULL))
    for labels in ((BEE,), (ANT, CAT)):
        assert torch.equal(drawn(classes(BEE), zero_out(classes(*labels))), expected)
    assert not torch.equal(drawn(classes(BEE), classes(BEE)), expected)


def test_no_embedding_is_the_null_class(classes, drawn):
    """As the host's guiders write "no text"."""
    assert torch.equal(drawn(classes(BEE), [[None, {}]]), drawn(classes(BEE), classes(NULL)))


@pytest.mark.parametrize("first, second", [((ANT,), (ELK,)), ((ANT, CAT), (ELK, BEE)), ((ANT, CAT), (ELK,)), ((BEE,), (NULL,))])
def test_an_average_that_is_one_of_its_classes_is_that_class(classes, drawn, first, second):
    one, other, null = classes(*first), classes(*second), classes(NULL)
    assert torch.equal(drawn(average(one, other, 1.0), null), drawn(one, null))
    assert torch.equal(drawn(average(one, other, 0.0), null), drawn(other, null))
    assert torch.equal(drawn(average(one, one, 0.3), null), drawn(one, null))
    assert torch.equal(drawn(average(zero_out(one), other, 0.0), null), drawn(other, null))
    assert torch.equal(drawn(null, average(zero_out(one), other, 1.0)), drawn(null, null))


@pytest.mark.parametrize("strength", [0.01, 0.5, 0.99])
@pytest.mark.parametrize("first, second", [((ANT,), (CAT,)), ((BEE,), (ELK,)), ((ANT, CAT), (CAT, ELK)), ((ANT, CAT), (ELK,))])
def test_a_mixture_of_classes_is_refused_by_name(classes, drawn, first, second, strength):
    """Also where the mean of two numbers is that of a third class."""
    mixed = average(classes(*first), classes(*second), strength)
    for sides in ((mixed, classes(NULL)), (classes(BEE), mixed)):
        with pytest.raises(ValueError, match="mixture of classes, as ConditioningAverage .* connect ToCa DiT Class"):
            drawn(*sides)


def test_no_mixture_of_two_of_a_thousand_classes_is_taken_for_a_third(pack):
    """Every pair of whose mean at half strength is a class, and rounding at any strength leaves a class itself."""
    loader, draw = pack.dit_loader, torch.Generator().manual_seed(0)
    for a, b in torch.randint(0, 1000, (200, 2), generator=draw).tolist() + [[997, 999], [0, 2], [500, 502]]:
        one, other = ([[loader.embedding_of(torch.tensor([[label]])), {}]] for label in (a, b))
        for strength in (0.5, 0.25, 0.9):
            if a != b:
                with pytest.raises(ValueError, match="mixture"):
                    loader.labels_of(average(one, other, strength)[0][0], torch.tensor([[a]]), 1000)
            assert loader.labels_of(average(one, one, strength)[0][0], torch.tensor([[a]]), 1000).item() == a


def test_classes_that_an_average_cut_off_are_refused(classes, drawn):
    """Of the second side's three classes one is left: no class of the result is what was asked for."""
    with pytest.raises(ValueError, match="ConditioningAverage"):
        drawn(average(classes(ANT), classes(BEE, CAT, ELK), 0.0), classes(NULL))


def test_joined_classes_are_refused_by_name(classes, drawn):
    for joined in (concat(classes(ANT), classes(BEE)), concat(classes(ANT, CAT), classes(BEE)), concat(classes(ANT), classes(NULL))):
        with pytest.raises(ValueError, match="joined by ConditioningConcat, .* ToCa DiT Class, with commas"):
            drawn(joined, classes(NULL))


def test_a_text_averaged_into_a_class_is_refused(classes, drawn):
    text = [[torch.randn(1, 7, 32, generator=torch.Generator().manual_seed(0)), {}]]
    for strength in (0.0, 0.5):
        with pytest.raises(ValueError, match="ConditioningAverage"):
            drawn(average(classes(ANT), text, strength), classes(NULL))
    with pytest.raises(ValueError, match="no class label"):
        drawn(text, classes(NULL))


def test_what_sets_only_where_and_when_works_as_before(classes, drawn):
    """Areas, masks, ranges of steps, properties and combinations do not touch what a class is."""
    bee, null = classes(BEE), classes(NULL)
    whole = nodes.ConditioningSetArea().append(bee, 128, 128, 0, 0, 1.0)[0]
    assert torch.allclose(drawn(whole, null), drawn(bee, null), atol=1e-4)
    mask = nodes.ConditioningSetMask().append(bee, torch.ones(1, 128, 128), "default", 1.0)[0]
    assert torch.allclose(drawn(mask, null), drawn(bee, null), atol=1e-4)
    early, late = (nodes.ConditioningSetTimestepRange().set_range(one, *span)[0]
                   for one, span in ((bee, (0, 0.5)), (classes(CAT), (0.5, 1))))
    changed = drawn(nodes.ConditioningCombine().combine(early, late)[0], null)
    assert changed.isfinite().all() and not torch.equal(changed, drawn(bee, null))
    twice = nodes.ConditioningCombine().combine(bee, bee)[0]
    assert torch.allclose(drawn(twice, null), drawn(bee, null), atol=1e-4)
    halves = average(*[nodes.ConditioningSetTimestepRange().set_range(bee, 0, 1)[0]] * 2, 0.5)
    assert torch.allclose(drawn(halves, null), drawn(bee, null), atol=1e-4)


def test_a_batch_goes_round_its_classes(classes, drawn):
    """Picture by picture, the same as each class of its own."""
    together = drawn(classes(ANT, BEE), zero_out(classes(ANT, BEE)), batch=3)
    assert torch.equal(together, drawn(classes(ANT, BEE, ANT), classes(NULL), batch=3))
