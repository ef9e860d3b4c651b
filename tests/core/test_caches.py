"""Whose cache is whose, as conditionings come, leave, and are computed together or apart."""

import pytest

from toca_core.keep.caches import Caches, Conditioning


@pytest.mark.parametrize("evaluations, regrouped", [
    (["ab", "ab", "ab"], False),
    (["a,b", "a,b"], False),
    (["ab", "a,b"], True),
    (["ab", "b,a", "ab"], True),
    (["a,b", "ab"], True),
    (["ab", "a"], False),                       # guidance ends: nobody is left to be together with
    (["ab", "a", "ab"], False),
    (["abc", "ab"], False),
    (["abc", "a,b"], True),
    (["ab", "abc"], False),
    (["ab", "ab,c"], False),
    (["ab", "a,bc"], True),
    (["ab", "cd"], False),
])
def test_conditionings_are_regrouped_where_those_that_stay_part_or_meet(evaluations, regrouped):
    caches = Caches()
    for index, groups in enumerate(evaluations):
        caches.begin(index)
        for group in groups.split(","):
            caches.members("model", [Conditioning(name) for name in group], index)
    assert caches.regrouped == regrouped
    caches.begin(len(evaluations))
    assert caches.regrouped == regrouped
