"""Shares of fresh tokens by sensitivity: that all that is tried costs as much, and differs."""

import pytest

from benchmarks import shares
from demo.subjects import SCENES

COST, ERRORS = {"a": 1.0, "b": 3.0}, {"a": [1.0, 2.0, 0.0], "b": [4.0, 0.5, 1.0]}
NAMES = ["flat", "slope", "random", "in proportion", "to its root", "least error"]
WHOLE = 12.0                        # what all of them cost


def spent(ratios) -> float:
    return sum(COST[name] * sum(blocks) for name, blocks in ratios)


@pytest.mark.parametrize("mean", [0.05, 0.2, 0.4, 0.9])
def test_whatever_is_tried_costs_the_same(mean):
    found = shares.allotments(ERRORS, COST, mean, 0.5)
    assert list(found) == NAMES and len(found["random"]) == shares.DRAWS
    for name, ratios in ((name, one) for name, of_name in found.items() for one in of_name):
        assert all(0 <= share <= 1 for _, blocks in ratios for share in blocks), name
        if name not in ("in proportion", "to its root") or mean < 0.9:      # a module without any error gets nothing, so less is spent
            assert spent(ratios) == pytest.approx(mean * WHOLE, rel=2e-3), name
    assert dict(found["flat"][0])["a"] == (mean, mean, mean) and dict(found["slope"][0])["b"][0] > dict(found["slope"][0])["b"][2]
    assert len({str(one) for one in found["random"]}) == shares.DRAWS


def test_the_least_error_is_less_than_what_any_other_leaves():
    def left(ratios):
        return sum((error * (1 - share)) ** 2 for name, blocks in dict(ratios).items()
                   for error, share in zip(ERRORS[name], blocks, strict=True))

    for mean in (0.1, 0.3, 0.6):
        found = shares.allotments(ERRORS, COST, mean, 0.5)
        least = left(found["least error"][0])
        assert all(least <= left(one) + 1e-3 for of_name in found.values() for one in of_name)
    assert shares.least_error({"a": [2.0]}, COST, 0.25)["a"] == [pytest.approx(0.25)]


def test_on_a_model(tmp_path):
    rows = shares.measure(SCENES, 2, 4, (2,))
    assert [row["shares"] for row in rows] == 2 * NAMES
    for mean in shares.MEAN_SHARES:
        of_mean = [row for row in rows if row["mean share"] == mean]
        assert of_mean[0]["above"] == of_mean[0]["error"] == 0 and len({row["mean"] for row in of_mean}) == len(of_mean)
        assert all(row["flops_speedup"] == pytest.approx(of_mean[0]["flops_speedup"], rel=0.03) for row in of_mean)
    assert rows[0]["flops_speedup"] > rows[6]["flops_speedup"] > 1
    shares.save({**shares.demo_quality.surroundings(), "pictures": 2, "steps": 4, "rows": rows}, tmp_path)
    text = (tmp_path / "shares.md").read_text()
    assert "- *flat*: the same share" in text and "| scenes_flux | 0.2 | 2 | flat |" in text
