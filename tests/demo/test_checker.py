"""The checker knows every class of the pictures that the data set's own code draws."""

import pytest
import torch

from demo import checker, shapes


def drawn(count, seed=0):
    """`count` pictures in 0..1 and their class indices."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % len(shapes.CLASSES)
    return (shapes.draw(labels, generator) + 1) / 2, labels


def agree(pictures, labels) -> float:
    """The share of pictures that show their class."""
    shown = [" ".join(checker.read(picture)[:2]) == shapes.CLASSES[label] for picture, label in zip(pictures, labels, strict=True)]
    return sum(shown) / len(shown)


def test_drawn_pictures_are_read_back():
    pictures, labels = drawn(400)
    assert agree(pictures, labels) >= 0.99


def test_wrong_labels_do_not_agree():
    pictures, labels = drawn(64)
    assert agree(pictures, (labels + 1) % len(shapes.CLASSES)) == 0


def test_the_confidence_is_high_on_a_clean_picture():
    pictures, _ = drawn(64)
    assert min(checker.read(picture)[2] for picture in pictures) > 0.8


def test_arrays_are_read_too():
    pictures, labels = drawn(1)
    assert " ".join(checker.read(pictures[0].numpy())[:2]) == shapes.CLASSES[labels[0]]


def test_a_grey_picture_shows_nothing():
    assert checker.read(torch.full((3, 64, 64), 0.5)) == ("", "", 0.0)


@pytest.mark.parametrize(("shape", "area"), [("circle", torch.pi), ("square", 4 * 0.84 ** 2), ("triangle", 0.75 * 3 ** 0.5)])
def test_unit_areas(shape, area):
    assert checker.unit_area(shape) == pytest.approx(area, rel=0.01)
