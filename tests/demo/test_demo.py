"""The demo command, with few steps, in what the registry would publish."""

import json
import shutil
import subprocess
import sys
import zipfile

import pytest
from PIL import Image

from tests.tools.test_archive import archived
from tools.server import PROJECT

RUNS = ("baseline", "paper", "auto")
STEPS = 9


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """(folder, standard output) of one run of the demo, unpacked under another name, in a host that has nothing else."""
    folder, out = tmp_path_factory.mktemp("archive"), tmp_path_factory.mktemp("demo")
    pack = folder / "custom_nodes" / "toca-unpacked"
    with zipfile.ZipFile(archived(folder / "node.zip")) as file:
        file.extractall(pack)
    command = [sys.executable, "demo/run_demo.py", "--steps", str(STEPS), "--seed", "3", "--out", str(out)]
    done = subprocess.run(command, cwd=pack, capture_output=True, encoding="utf-8", errors="replace", check=False)
    assert done.returncode == 0, done.stderr
    return out, done.stdout


def test_the_pictures_are_there(demo):
    out, _ = demo
    for run in RUNS:
        assert [Image.open(out / f"{run}_{index}.png").size for index in range(4)] == [(64, 64)] * 4
    width, height = Image.open(out / "sheet.png").size
    assert width > 4 * 256 and height > 5 * 256


def test_the_table_names_every_run(demo):
    out, printed = demo
    rows = [line for line in printed.splitlines() if line[2:].startswith(RUNS)]
    assert len(rows) == len(RUNS) and all("x" in row and "%" in row for row in rows)
    assert printed.rstrip().endswith(str(out))


def test_the_report_holds_the_figures_of_every_run(demo):
    out, _ = demo
    baseline, *cached = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert [row["run"] for row in (baseline, *cached)] == list(RUNS)
    assert baseline["psnr"] is None and baseline["report"] is None and baseline["speedup"] == 1
    assert baseline["calls"] == {"full": STEPS, "partial": 0}
    for row in cached:
        assert row["report"]["preset"] == row["run"]
        assert row["calls"]["partial"] > 0 and sum(row["calls"].values()) == STEPS
        assert row["flops_saved"] == pytest.approx(1 - row["report"]["flops"] / row["report"]["plain_flops"])
        assert 0 < row["flops_saved"] < 1 and row["seconds"] > 0
        assert 5 < row["psnr"]["worst"] <= row["psnr"]["mean"]


def test_a_missing_model_is_said_in_one_sentence(tmp_path):
    (tmp_path / "demo").mkdir()
    shutil.copy(PROJECT / "demo" / "run_demo.py", tmp_path / "demo")
    for folder in ("tools", "toca_core"):
        shutil.copytree(PROJECT / folder, tmp_path / folder)
    done = subprocess.run([sys.executable, "demo/run_demo.py"], cwd=tmp_path, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 1
    [line] = done.stderr.strip().splitlines()
    assert line.endswith("shapes_dit.safetensors is missing: restore it from the repository, or make it again with python run.py train.")
