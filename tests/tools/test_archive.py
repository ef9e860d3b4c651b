"""What the registry would publish: the tracked files without those of .comfyignore, which is all that `comfy node pack` takes."""

import subprocess
import sys
import zipfile

import pytest

from tools.environment import PROJECT

LARGEST = 15e6      # bytes


def listed(*options):
    try:
        done = subprocess.run(["git", "ls-files", "-z", *options], cwd=PROJECT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this is no git checkout")
    return {name for name in done.stdout.split("\0") if name}


@pytest.fixture(scope="module")
def names():
    return sorted(listed() - listed("--cached", "--ignored", "--exclude-from=.comfyignore"))


@pytest.fixture(scope="module")
def archive(names, tmp_path_factory):
    path = tmp_path_factory.mktemp("archive") / "node.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name in names:
            if (PROJECT / name).is_file():
                file.write(PROJECT / name, name)
    return path


def test_it_is_small_and_holds_what_users_need(names, archive):
    assert archive.stat().st_size < LARGEST
    tops = {name.split("/")[0] for name in names}
    assert tops == {"__init__.py", "pyproject.toml", "requirements.txt", "run.py", "README.md", "CHANGELOG.md", "CONTRIBUTING.md",
                    "LICENSE", "demo", "docs", "locales", "nodes", "toca_core", "tools", "web", "workflows"}
    kept = {name for name in listed() if name.startswith(("nodes/", "toca_core/", "web/", "locales/", "workflows/"))}
    assert kept <= set(names)


def test_the_demo_runs_from_it(archive, tmp_path):
    """Unpacked under another name, in a host that has nothing else."""
    pack = tmp_path / "custom_nodes" / "toca-unpacked"
    with zipfile.ZipFile(archive) as file:
        file.extractall(pack)
    command = [sys.executable, "demo/run_demo.py", "--steps", "4", "--out", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=pack, capture_output=True, text=True, encoding="utf-8", errors="replace", check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "sheet.png").is_file()
