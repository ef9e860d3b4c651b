"""The bench's own arithmetic, on curves whose figures can be worked out by hand."""

import json
import math

import pytest

from benchmarks import figures, pages, tables


def test_mean_and_worst():
    decibels = [float(value) for value in range(30, 70)]            # 40 pictures: the worst 5% are two
    assert figures.mean_and_worst(decibels) == (49.5, 30.5)
    assert figures.mean_and_worst([20.0, 40.0]) == (30.0, 20.0)
    assert figures.mean_and_worst([math.inf, 41.0]) == (70.0, 41.0)                              # an identical one counts 99 dB
    assert figures.mean_and_worst([math.inf, math.inf]) == (math.inf, math.inf)


def test_at_speed_is_linear_in_log_speed():
    curve = [(4.0, 20.0), (1.0, 40.0)]
    assert figures.at_speed(curve, 2.0) == pytest.approx(30.0)
    assert figures.at_speed([*curve, (2.0, 36.0)], 2 ** 0.5) == pytest.approx(38.0)              # between the nearer two


def test_at_speed_knows_nothing_outside_of_what_was_measured():
    curve = [(1.5, 40.0), (2.5, 30.0)]
    assert figures.at_speed(curve, 1.4) is None and figures.at_speed(curve, 2.6) is None
    assert figures.at_speed(curve, 1.5) == pytest.approx(40.0) and figures.at_speed(curve, 2.5) == pytest.approx(30.0)
    assert figures.at_speed([], 2.0) is None and figures.at_speed([(2.0, 33.0)], 2.0) == 33.0
    assert figures.at_speed([(1.0, math.inf), *curve], 1.2) is None


def row(kind, family, speedup, mean, worst):
    return {"kind": kind, "family": family, "speedup": speedup, "psnr_mean": mean, "psnr_worst": worst}


def test_leads_are_over_the_better_of_both_sides():
    rows = [row("plain", "plain", 1.0, math.inf, math.inf),
            row("cache", "one", 1.0, 50.0, 20.0), row("cache", "one", 4.0, 30.0, 10.0),
            row("cache", "other", 1.0, 42.0, 30.0), row("cache", "other", 4.0, 26.0, 26.0),
            row("solver", "fewer", 1.5, 35.0, 35.0), row("solver", "fewer", 3.0, 35.0, 35.0),
            row("ours", "ours", 2.0, 46.0, 33.0), row("ours", "ours", 2.5, 40.0, 31.0)]
    mean, worst, beyond, _ = figures.leads(rows, (2.0, 3.0))
    assert mean["cache"] == {"family": "one", "psnr": pytest.approx(40.0)} and mean["lead"] == pytest.approx(6.0)
    assert worst["cache"]["family"] == "other" and worst["solver"]["psnr"] == 35.0 and worst["lead"] == pytest.approx(-2.0)
    rival = {**rows[1], "kind": "rival", "family": "SpeCa", "psnr_mean": 60.0}
    assert figures.leads([*rows, rival, {**rival, "speedup": 4.0}], (2.0,))[0]["cache"]["family"] == "SpeCa"
    by_flops = figures.leads([{**one, "flops_speedup": one["speedup"] ** 2, "speedup": 9.0} for one in rows], (4.0,), "flops_speedup")
    assert by_flops[0]["lead"] == pytest.approx(6.0)
    assert beyond["ours"] is None and beyond["lead"] is None and beyond["solver"]["family"] == "fewer"


def test_a_difference_is_taken_picture_by_picture():
    first, second = [40.0, 30.0, 35.0], [39.0, 28.0, 35.0]
    mean, error = figures.difference(first, second)
    assert mean == pytest.approx(1.0) and error == pytest.approx((2 / 2 / 3) ** 0.5)
    with pytest.raises(ValueError):
        figures.difference(first, second[:2])


def test_two_reports_stand_side_by_side():
    def measured(decibels, calls):
        mean, worst = figures.mean_and_worst(decibels)
        return {**row("ours", "ours", 2.0, mean, worst), "setting": "tolerance 0.2", "model_calls": calls, "psnr": decibels}
    now, then = measured([40.0, 42.0], 12.0), measured([41.0, 41.0], 12.5)
    assert tables.beside([now], [then])[1:] == [["ours", "tolerance 0.2", "12.5", "12.0", "41.0 / 41.0", "41.0 / 40.0", "+0.00 dB", "1.00"]]
    without = {name: value for name, value in then.items() if name != "psnr"}
    assert tables.beside([now], [without]) == tables.beside([now], []) == tables.beside([now], [then])[:1]


def test_a_page_and_its_figures_go_where_they_are_asked_for(tmp_path, capsys):
    given = pages.parser_of("oracles", "What it does.\n\nMore.").parse_args(["--json", str(tmp_path / "o.json"), "--out", str(tmp_path)])

    def save(report, out):
        (out / "oracles.md").write_text(str(report))

    pages.deliver(given, "oracles", {"rows": [1, math.inf]}, save, [["a"], ["b"]], "t")
    assert json.loads((tmp_path / "o.json").read_text())["rows"][0] == 1
    assert (tmp_path / "oracles.md").is_file() and str(tmp_path / "oracles.md") in capsys.readouterr().out.replace("\n", "")
    assert pages.parser_of("oracles", "").parse_args([]).out == pages.ROOT / "output/oracles"
