"""Finds a version of the host's front end, or fetches it from the package registry into .host/front_ends/<version>/.

Only the standard library, as `tools/environment.py`.
"""

import re
import shutil
import tempfile
import zipfile
from pathlib import Path

from tools.environment import HOSTS, SetupError, call, lock, quiet, say

PACKAGE = "comfyui-frontend-package"
NEWEST = "newest"
VARIABLE = "TOCA_FRONT_END"         # in the environment of our commands: the folder of the front end that their servers serve


def find(version: str, python: Path, folder: Path = HOSTS / "front_ends") -> Path:
    """The folder of a version, to be given to the host as --front-end-root. python: whose pip is asked."""
    if version == NEWEST:
        version = newest(python)
    if not re.fullmatch(r"\d+(\.\d+)+", version):
        raise SetupError(f"There is no front end '{version}': give a version of {PACKAGE}, such as 1.58.1, or {NEWEST}.")
    home = folder / version
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with lock(folder / f"{version}.lock"):
            if not home.is_dir():
                say(f"The front end {version}")
                with tempfile.TemporaryDirectory(dir=folder) as temporary:
                    unpack(download(version, python, Path(temporary)), Path(temporary) / "static")
                    shutil.move(Path(temporary) / "static", home)           # whole or not at all
    except OSError as error:
        raise SetupError(f"The front end in {home} could not be made: {error}.") from error
    return home


def newest(python: Path) -> str:
    """The newest release that pip finds."""
    found = quiet([str(python), "-m", "pip", "index", "versions", "--disable-pip-version-check", PACKAGE]) or ""
    version = re.match(rf"{PACKAGE} \((\S+)\)", found)
    if version is None:
        raise SetupError(f"pip does not say which {PACKAGE} is the newest: check the network, or give its version.")
    return version[1]


def download(version: str, python: Path, folder: Path) -> Path:
    """Its wheel, with the user's own pip settings."""
    options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:", "--dest", str(folder)]
    call([str(python), "-m", "pip", "download", *options, f"{PACKAGE}=={version}"], f"download the front end {version}")
    return next(folder.glob("*.whl"))


def unpack(wheel: Path, target: Path) -> None:
    """Take the pages out of the wheel, where they are <package>/static."""
    inside = f"{PACKAGE.replace('-', '_')}/static/"
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if not name.startswith(inside) or name.endswith("/") or ".." in name:
                continue
            path = target / name[len(inside):]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(archive.read(name))
    if not (target / "index.html").is_file():
        raise SetupError(f"{wheel.name} holds no front end.")
