"""What holds the project together: layers that depend one way, types, and a clean tree."""

import ast
import graphlib
import importlib.util
import os
import re
import subprocess
import sys

import pytest

from tools import environment
from tools.environment import PROJECT

HOST_MODULES = {"execution", "folder_paths", "nodes", "server"}         # and whatever begins with comfy
LONGEST = 350                                                           # lines of a Python file
PORTS = ("nodes/models/", "tests/host/test_open_sora_vae.py", "tests/host/test_stdit3.py")      # models as released, and their tests


# ---- the tree ----


@pytest.fixture(scope="module")
def files():
    """Every file that is in git or would be added to it."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this is no git checkout")
    found = [path for name in listed.split("\0") if name and (path := PROJECT / name).is_file()]
    assert PROJECT / "run.py" in found
    return found


def registry_hosts():
    """The public package registry's hosts, and those that pip is told to use here; in parts, so that this file does not name them."""
    settings = environment.quiet([sys.executable, "-m", "pip", "config", "list"]) or ""
    configured = re.findall(r"https?://(?:[^@/\s']*@)?([\w.-]+)", settings)
    return {"pypi" + ".org", "python" + "hosted.org", *configured} - {"localhost", "127.0.0.1"}


def test_no_file_names_a_place_on_someones_machine_or_a_registry(files):
    unwanted = {f"/{folder}/".encode() for folder in ("work", "root")} | {host.encode() for host in registry_hosts()}
    found = {(path.relative_to(PROJECT).as_posix(), text) for path in files for text in unwanted if text in path.read_bytes()}
    assert not found


def test_no_file_is_too_large_for_a_repository(files):
    assert not [path for path in files if path.stat().st_size > 20e6]


def test_no_file_is_too_long_to_read(files):
    paths = {path.relative_to(PROJECT).as_posix(): path for path in files if path.suffix == ".py"}
    lengths = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in paths.items() if not name.startswith(PORTS)}
    assert not {name: length for name, length in lengths.items() if length > LONGEST}


# ---- types and layers, as pyproject.toml has them ----


@pytest.mark.parametrize("module, start", [
    ("mypy", ["-m", "mypy"]),
    ("importlinter", ["-c", "from importlinter.cli import lint_imports_command; lint_imports_command(['--no-cache'])"]),
])
def test_types_and_layers_hold(module, start):
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")
    done = subprocess.run([sys.executable, *start], cwd=PROJECT, capture_output=True, text=True, encoding="utf-8", errors="replace",
                          env={**os.environ, "PYTHONUTF8": "1"}, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_types_hold_between_the_nodes_and_the_core():
    """As the host sees the pack: one package, whatever its folder is called."""
    if importlib.util.find_spec("mypy") is None:
        pytest.skip("mypy is not installed")
    link = PROJECT / ".mypy_cache" / "as_package" / "toca_pack"
    link.parent.mkdir(parents=True, exist_ok=True)
    try:
        if not link.is_symlink():
            link.symlink_to(PROJECT, target_is_directory=True)
    except OSError:
        pytest.skip("no symbolic links here")
    command = [sys.executable, "-m", "mypy", "-p", "toca_pack.toca_core", "-p", "toca_pack.nodes"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False,
                          env={**os.environ, "MYPYPATH": str(link.parent), "PYTHONUTF8": "1"})
    assert done.returncode == 0, done.stdout + done.stderr


# ---- layers ----


def python_files(folder):
    found = sorted((PROJECT / folder).rglob("*.py"))
    assert found
    return found


def imports(path):
    """Dotted names of what a file of the pack imports; those inside the pack from its root, such as `nodes.host.seam`."""
    package = path.relative_to(PROJECT).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level <= len(package) + 1, f"{path} imports from outside the pack"
            base = [*package[: len(package) - node.level + 1]] if node.level else []
            module = [*base, *(node.module.split(".") if node.module else [])]
            yield from (".".join([*module, alias.name]) for alias in node.names)


def is_host(name):
    top = name.split(".")[0]
    return top.startswith("comfy") or top in HOST_MODULES


@pytest.mark.parametrize("path", python_files("toca_core"), ids=lambda path: path.relative_to(PROJECT).as_posix())
def test_the_algorithm_imports_neither_the_host_nor_what_is_above_it(path):
    allowed = {"toca_core", "torch", "numpy", "einops", *sys.stdlib_module_names}
    assert not [name for name in imports(path) if name.split(".")[0] not in allowed]


def test_models_do_not_know_the_patching():
    assert not [(path.name, name) for path in python_files("nodes/models") for name in imports(path) if name.startswith("nodes.host")]


SERVING = {"extension", "prediction", "routes"}


@pytest.mark.parametrize("path", python_files("nodes"), ids=lambda path: path.relative_to(PROJECT).as_posix())
def test_nodes_know_what_they_are_made_of_and_not_the_other_way(path):
    own = path.relative_to(PROJECT / "nodes").with_suffix("").parts[0]
    others = {name.split(".")[1] for name in imports(path) if name.startswith("nodes.")}
    if own not in SERVING:
        assert not others & SERVING
    if (PROJECT / "nodes" / own).is_dir():                              # host, systems, models, drawing
        assert not [other for other in others if other.startswith("toca_")]


def test_no_module_imports_itself_by_way_of_others():
    paths = {module_of(path): path for folder in ("toca_core", "nodes") for path in python_files(folder)}
    known = {name: {inside(imported, paths) for imported in imports(path)} for name, path in paths.items()}
    try:
        graphlib.TopologicalSorter({name: found - {None, name} for name, found in known.items()}).prepare()
    except graphlib.CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


def module_of(path):
    """Its dotted name; of a package's `__init__.py` the package's."""
    return ".".join(path.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__")


def inside(name, modules):
    """The module that an imported name is, or lies in; None where that is none of these."""
    parts = name.split(".")
    return next((known for end in range(len(parts), 0, -1) if (known := ".".join(parts[:end])) in modules), None)


def test_only_the_nodes_import_the_host():
    """Of what the host loads; tools, demo, benchmarks and tests run beside it."""
    beside = {"tools", "demo", "benchmarks", "tests"}
    parts = {path.name for path in PROJECT.iterdir() if (path / "__init__.py").is_file()} - beside - {"nodes"}
    loaded = [PROJECT / "__init__.py", *(path for part in parts for path in python_files(part))]
    own = {"nodes.extension.ToCaExtension"}                             # the root's import of our nodes, not the host's
    assert not [(path.name, name) for path in loaded for name in imports(path) if is_host(name) and name not in own]


# ---- the name of the clone's folder ----


def test_scripts_import_their_neighbours_by_package():
    """By its bare name a neighbour could be another module of that name, such as the clone's own folder."""
    bare = set()
    for path in [path for folder in ("tools", "demo", "benchmarks") for path in python_files(folder)]:
        neighbours = {other.stem for other in path.parent.glob("*.py")}
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else \
                [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
            bare |= {(path.name, name) for name in names if name.split(".")[0] in neighbours}
    assert not bare


def test_the_tests_do_not_import_the_pack_by_its_folders_name():
    own = str(PROJECT / "__init__.py")
    assert {name for name, module in sys.modules.items() if getattr(module, "__file__", None) == own} <= {"toca_pack"}


BLOCKED = """
import importlib, pkgutil, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.startswith("comfy") or name in {blocked}:
            raise ImportError("blocked: " + name)

sys.meta_path.insert(0, Blocker())
try:
    import comfy
except ImportError as error:
    assert str(error) == "blocked: comfy"
else:
    raise SystemExit("comfy was not blocked")

import toca_core
names = [module.name for module in pkgutil.walk_packages(toca_core.__path__, "toca_core.")]
for name in names:
    importlib.import_module(name)
print(1 + len(names))
"""


def test_the_algorithm_can_be_imported_without_the_host():
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED.format(blocked=HOST_MODULES)], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == len(python_files("toca_core"))


@pytest.mark.parametrize("folder", ["benchmarks", "demo"])
def test_scripts_find_the_host_before_they_import_it(folder):
    """Each of these files may be the one that a command starts."""
    found = []
    for path in sorted((PROJECT / folder).rglob("*.py")):
        body, loaded = ast.parse(path.read_text(encoding="utf-8")).body, False
        for node in body:
            loaded = loaded or isinstance(node, ast.Expr) and "load_host(" in ast.unparse(node)
            if isinstance(node, (ast.Import, ast.ImportFrom)) and ast.unparse(node).split()[1].startswith("comfy") and not loaded:
                found.append(f"{path.name}:{node.lineno}")
    assert not found
