"""What the registry would publish: the tracked files without those of .comfyignore, which is all that `comfy node pack` takes."""

import subprocess
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


def published():
    return sorted(listed() - listed("--cached", "--ignored", "--exclude-from=.comfyignore"))


def archived(path):
    """The archive at that path."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name in published():
            if (PROJECT / name).is_file():
                file.write(PROJECT / name, name)
    return path


def test_it_is_small_and_holds_what_users_need(tmp_path):
    """That the demo runs from it: tests/demo/test_demo.py."""
    names = published()
    assert archived(tmp_path / "node.zip").stat().st_size < LARGEST
    tops = {name.split("/")[0] for name in names}
    assert tops == {"__init__.py", "pyproject.toml", "requirements.txt", "run.py", "README.md", "CHANGELOG.md", "CONTRIBUTING.md",
                    "LICENSE", "demo", "docs", "locales", "nodes", "toca_core", "tools", "web", "workflows"}
    kept = {name for name in listed() if name.startswith(("nodes/", "toca_core/", "web/", "locales/", "workflows/"))}
    assert kept <= set(names)
