"""How the host is found, made, and refused."""

import ast
import hashlib
import io
import os
import subprocess
import sys
import tarfile
import zipfile

import pytest

import run
from tools import environment, front_ends
from tools.environment import SetupError
from tools.server import ComfyServer


@pytest.fixture
def comfyui(tmp_path):
    return make_comfyui(tmp_path / "ComfyUI")


def make_comfyui(path):
    (path / "comfy").mkdir(parents=True)
    (path / "main.py").touch()
    return path


def make_python(venv):
    python = environment.venv_python(venv)
    python.parent.mkdir(parents=True)
    python.touch()
    return python


def make_archive(path, names):
    with tarfile.open(path, "w:gz") as tar:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = 4
            tar.addfile(member, io.BytesIO(b"text"))
    return path


# ---- finding ----


def test_comfyui_path_wins(comfyui, monkeypatch):
    monkeypatch.setenv("COMFYUI_PATH", str(comfyui))
    assert environment.find() == environment.Host(comfyui, environment.Path(sys.executable))


def test_a_wrong_comfyui_path_is_refused_by_name(tmp_path, monkeypatch):
    monkeypatch.setenv("COMFYUI_PATH", str(tmp_path))
    with pytest.raises(SetupError, match="is not a ComfyUI folder: it must hold main.py and comfy/"):
        environment.find()


def test_a_project_in_custom_nodes_uses_the_comfyui_around_it(comfyui):
    assert environment.surrounding(comfyui / "custom_nodes" / "any name") == comfyui
    assert environment.surrounding(comfyui / "elsewhere" / "any name") is None
    assert environment.surrounding(comfyui.parent / "custom_nodes" / "any name") is None


@pytest.mark.parametrize("name", ["venv", ".venv"])
def test_an_install_is_run_with_its_own_python(comfyui, name):
    assert environment.own_python(comfyui).samefile(sys.executable)
    python = make_python(comfyui / name)
    assert environment.own_python(comfyui) == python


def test_a_portable_install_is_run_with_the_python_beside_it(comfyui):
    python = comfyui.parent / "python_embeded" / "python.exe"
    python.parent.mkdir()
    python.touch()
    assert environment.own_python(comfyui) == python


def test_a_managed_host_named_by_its_path_is_run_with_its_own_python(tmp_path, monkeypatch):
    host = environment.ensure("0.30.0", tmp_path, Installer())
    monkeypatch.setenv("COMFYUI_PATH", str(host.path))
    assert environment.find() == host


def test_a_venv_beside_a_users_comfyui_is_not_taken_for_its_own(comfyui):
    make_python(comfyui.parent / "venv")
    assert environment.own_python(comfyui).samefile(sys.executable)


@pytest.mark.parametrize("version", ["9.9.9", ""])
def test_an_unknown_version_is_refused_with_the_known_ones(version, tmp_path):
    with pytest.raises(SetupError, match="the versions are 0.30.0, 0.27.0, 0.24.0"):
        environment.ensure(version, tmp_path)


# ---- making ----


class Installer:
    """Stands in for the real one; fails when told to, halfway."""

    def __init__(self):
        self.calls, self.fails = 0, False

    def __call__(self, version, home):
        self.calls += 1
        assert list(home.iterdir()) == []
        make_comfyui(home / "ComfyUI")
        if self.fails:
            raise SetupError("no network")
        make_python(home / "venv")


def test_a_host_is_made_once(tmp_path):
    installer = Installer()
    hosts = [environment.ensure("0.30.0", tmp_path, installer) for _ in range(3)]
    assert installer.calls == 1
    assert hosts == [environment.Host(tmp_path / "0.30.0" / "ComfyUI", environment.venv_python(tmp_path / "0.30.0" / "venv"))] * 3


def test_a_half_made_host_is_made_again(tmp_path):
    installer = Installer()
    installer.fails = True
    with pytest.raises(SetupError, match="no network"):
        environment.ensure("0.30.0", tmp_path, installer)
    installer.fails = False
    environment.ensure("0.30.0", tmp_path, installer)
    assert installer.calls == 2


@pytest.mark.parametrize("spoil", ["requirements", "python"])
def test_a_host_that_no_longer_fits_is_made_again(tmp_path, monkeypatch, spoil):
    installer = Installer()
    host = environment.ensure("0.30.0", tmp_path, installer)
    if spoil == "requirements":
        monkeypatch.setattr(environment, "CONSTRAINTS", ("torch==99",))
    else:
        host.python.unlink()
    environment.ensure("0.30.0", tmp_path, installer)
    assert installer.calls == 2


def test_versions_do_not_disturb_each_other(tmp_path):
    installer = Installer()
    for version in ("0.30.0", "0.24.0", "0.30.0"):
        environment.ensure(version, tmp_path, installer)
    assert installer.calls == 2


def test_a_lock_is_held_once_and_survives_its_file(tmp_path):
    path = tmp_path / "lock"
    with environment.lock(path), open(path, "a+b") as other:
        assert not environment.try_lock(other)
    assert path.exists()  # left behind, as after a crash
    with environment.lock(path):
        pass


def test_too_little_disk_is_refused(tmp_path):
    with pytest.raises(SetupError, match="needs 1000000000 GB of disk"):
        environment.require_disk(tmp_path, needed=1e18)


# ---- the archive ----


def test_a_wrong_checksum_is_refused(tmp_path):
    archive = make_archive(tmp_path / "pack-1.tar.gz", ["pack-1/vendor/ComfyUI/main.py"])
    environment.verify(archive, hashlib.sha256(archive.read_bytes()).hexdigest())
    with pytest.raises(SetupError, match="is not the archive expected"):
        environment.verify(archive, "0" * 64)


def test_only_the_vendored_comfyui_is_unpacked(tmp_path):
    inside = ["main.py", "comfy/__init__.py", "comfy/ldm/common.py"]
    outside = ["pack-1/setup.py", "pack-1/vendor/other/x.py", "pack-1/vendor/ComfyUI/../../../../evil.py", "/abs/vendor/y.py"]
    archive = make_archive(tmp_path / "pack-1.tar.gz", [f"pack-1/vendor/ComfyUI/{name}" for name in inside] + outside)
    environment.unpack(archive, tmp_path / "in" / "ComfyUI")
    files = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {"pack-1.tar.gz", *(f"in/ComfyUI/{name}" for name in inside)}


def test_an_archive_without_a_comfyui_is_refused(tmp_path):
    archive = make_archive(tmp_path / "pack-1.tar.gz", ["pack-1/vendor/ComfyUI/readme"])
    with pytest.raises(SetupError, match="holds no ComfyUI"):
        environment.unpack(archive, tmp_path / "ComfyUI")


# ---- the front end ----


def test_a_front_end_is_fetched_once_and_only_its_pages_are_kept(tmp_path, monkeypatch):
    asked = []

    def download(version, python, folder):
        asked.append(version)
        wheel = folder / f"front-{version}.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            for name in ("static/index.html", "static/assets/a.js", "__init__.py", "static/../../evil.js"):
                archive.writestr(f"comfyui_frontend_package/{name}", name)
        return wheel

    monkeypatch.setattr(front_ends, "download", download)
    monkeypatch.setattr(front_ends, "newest", lambda python: "1.2.3")
    roots = [front_ends.find(version, None, tmp_path) for version in ("1.2.3", "newest", "1.2.4", "1.2.3")]
    assert asked == ["1.2.3", "1.2.4"] and roots[0] == roots[1] == roots[3] == tmp_path / "1.2.3"
    files = {path.relative_to(tmp_path / "1.2.3").as_posix() for path in (tmp_path / "1.2.3").rglob("*") if path.is_file()}
    assert files == {"index.html", "assets/a.js"} and not list(tmp_path.rglob("evil.js"))


def test_a_front_end_that_does_not_come_leaves_nothing_behind(tmp_path, monkeypatch):
    def download(version, python, folder):
        raise SetupError("no network")

    monkeypatch.setattr(front_ends, "download", download)
    with pytest.raises(SetupError, match="no network"):
        front_ends.find("1.2.3", None, tmp_path)
    assert not (tmp_path / "1.2.3").exists()


def test_a_server_serves_the_front_end_that_was_asked_for(monkeypatch):
    monkeypatch.delenv(front_ends.VARIABLE, raising=False)
    assert "--front-end-root" not in ComfyServer(comfyui=environment.PROJECT)._command()
    monkeypatch.setenv(front_ends.VARIABLE, "pages")
    command = ComfyServer(comfyui=environment.PROJECT)._command()
    assert command[command.index("--front-end-root") + 1] == "pages"


# ---- running ----


def test_a_failing_step_is_one_sentence(capfd):
    with pytest.raises(SetupError, match="^Could not install the packages; the message above says why"):
        environment.call([sys.executable, "-c", "raise SystemExit('the reason')"], "install the packages")
    assert "the reason" in capfd.readouterr().err
    with pytest.raises(SetupError, match="^Could not start it: "):
        environment.call([os.devnull], "start it")


def test_a_users_host_without_pytest_is_told_how_to_get_it(comfyui):
    host = environment.Host(comfyui, comfyui / "no-python")
    with pytest.raises(SetupError, match='no-python" -m pip install -r requirements-dev.txt'):
        environment.require_pytest(host)


def test_the_exit_code_and_the_host_are_passed_on(comfyui):
    host = environment.Host(comfyui, environment.Path(sys.executable))
    code = "import os, sys; sys.exit(7 if os.environ['COMFYUI_PATH'] == sys.argv[1] and os.path.exists('run.py') else 1)"
    assert environment.run(host, ["-c", code, str(comfyui)]) == 7


# ---- run.py ----


def test_an_old_python_is_told_so_in_one_sentence():
    assert run.refusal((3, 9, 18)) == "This needs Python 3.10 or newer, and this is Python 3.9: run it with a newer one."
    assert run.refusal((3, 10, 0)) is None
    assert run.refusal((4, 0)) is None


def test_an_old_python_can_read_run_py():
    ast.parse((environment.PROJECT / "run.py").read_text(encoding="utf-8"), feature_version=(3, 6))


def test_the_host_option_stands_anywhere():
    assert run.take_option("--host", ["--host", "0.24.0", "test", "-x"]) == ("0.24.0", ["test", "-x"])
    assert run.take_option("--host", ["test", "-x", "--host=0.24.0"]) == ("0.24.0", ["test", "-x"])
    assert run.take_option("--host", ["test"]) == (None, ["test"])
    assert run.take_option("--host", ["test", "--host"]) == ("", ["test"])


def test_other_hosts_run_the_smoke_tests_unless_told_otherwise():
    several = run.PARALLEL
    assert run.command_line("test", ["-x"], smoke=False) == ["-m", "pytest", *several, "--quick", "-x"]
    assert run.command_line("test", ["-x"], smoke=True) == ["-m", "pytest", *several, "-m", "smoke", "-x"]
    assert run.command_line("test", ["-m", "web"], smoke=True) == ["-m", "pytest", *several, "-m", "web"]


@pytest.mark.parametrize("arguments, parallel", [
    ([], True), (["tests/core", "-q"], True), (["-p", "no:randomly"], True), (["tests/core/test_memory.py"], False),
    (["tests/core/test_memory.py::test_readable", "-x"], False), (["-n0"], False), (["-p", "no:xdist"], False), (["--pdb"], False)])
def test_tests_run_in_several_processes_where_that_pays(arguments, parallel):
    command = run.command_line("test", ["--all", *arguments], smoke=False)
    assert command == ["-m", "pytest", *(run.PARALLEL if parallel else []), *arguments]


@pytest.mark.parametrize("arguments, quick", [
    ([], True), (["-x", "--durations", "20"], True), (["--all"], False), (["tests/core", "-q"], False), (["-k", "name"], False),
    (["-m", "smoke"], False), (["--lf"], False), (["tests/core/test_memory.py::test_readable"], False)])
def test_some_cases_are_left_out_only_where_nothing_is_chosen(arguments, quick):
    assert ("--quick" in run.command_line("test", arguments, smoke=False)) == quick


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["tset"], "There is no command 'tset'"),
        (["test", "--host", "9.9.9"], "There is no ComfyUI '9.9.9'"),
        (["serve", "--frontend", "today"], "There is no front end 'today'"),
    ],
)
def test_a_mistake_is_answered_with_one_sentence(arguments, sentence):
    done = subprocess.run([sys.executable, "run.py", *arguments], cwd=environment.PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith(sentence) and done.stderr.count("\n") == 1
