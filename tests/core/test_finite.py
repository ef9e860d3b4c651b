"""What is written as JSON can be read by whatever reads JSON."""

import json
import math
from dataclasses import asdict, dataclass

from toca_core.finite import dumps, finite
from toca_core.report import RunReport, StepReport


@dataclass
class Pair:
    values: tuple
    words: str = "nan"


def test_numbers_that_are_not_finite_become_null_wherever_they_stand():
    given = {"a": math.nan, "b": [1.5, math.inf, {"c": -math.inf}], "d": asdict(Pair((1, math.nan))), "e": True, "f": None, "g": 2 ** 64}
    wanted = {"a": None, "b": [1.5, None, {"c": None}], "d": {"values": [1, None], "words": "nan"}, "e": True, "f": None, "g": 2 ** 64}
    assert finite(given) == wanted
    assert json.loads(dumps(given, indent=1), parse_constant=lambda name: 1 / 0) == wanted


def test_a_report_of_errors_that_are_not_finite_reads_and_counts_them():
    report = RunReport("DiT", "auto", {"level": "stack"}, [StepReport(index, 1.0, "full", error=error)
                                                           for index, error in enumerate((None, 2.0, math.nan, math.inf, 4.0))])
    text = "\n".join(report.lines())
    assert "3% in the median, 4% at most" in text and "2 of 4 errors measured are not finite" in text
    steps = json.loads(dumps(report.as_dict()))["steps"]
    assert [step["error"] for step in steps] == [None, 2.0, None, None, 4.0]
