"""README, docs/ and the help pages: they agree with the code, their links lead somewhere, and their commands exist."""

import re
import subprocess
import sys
import urllib.request

import pytest
import yaml

import run
from tools import docs, environment
from tools.environment import PROJECT

PAGES = sorted([*PROJECT.glob("*.md"), *(PROJECT / "docs").rglob("*.md")])
HELP_PAGES = sorted((PROJECT / "web" / "docs").rglob("*.md"))
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"python run\.py ([a-z]+)([^`\n]*)")
LIGHT = ("demo", "serve", "models", "soak", "screenshots")      # commands whose --help does not load the host


def name_of(path):
    return path.relative_to(PROJECT).as_posix()


def text_of(path):
    return path.read_text(encoding="utf-8")


# ---- help pages ----


def test_every_node_has_a_help_page_that_agrees_with_its_schema(our_nodes, rows):
    for name, info in our_nodes.items():
        page = text_of(PROJECT / "web" / "docs" / f"{name}.md")
        assert page.startswith(f"# {info['display_name']}\n")
        inputs = {**info["input"].get("required", {}), **info["input"].get("optional", {})}
        documented = rows(page)
        assert documented.keys() == inputs.keys(), name
        for key, spec in inputs.items():
            schema = docs.described(spec)
            listed = spec[0] != "COMBO" or len(schema["range"]) < 80              # the host's own long lists may be left out
            wanted = (shown(schema),) if listed else (shown(schema), shown({**schema, "range": ""}))
            assert documented[key]["what it does"].endswith(wanted), (name, key)
        for output in info["output_name"]:
            assert f"| `{output}` |" in page.split("## Outputs")[1], name


def shown(schema):
    """Range and default, at the end of what an input does: a page is read in a narrow panel."""
    parts = [schema["range"], f"default {schema['default']}" if schema["default"] else ""]
    return f" *{'; '.join(filter(None, parts))}*" if any(parts) else ""


def test_help_pages_fit_a_narrow_panel_and_the_caches_is_short(our_nodes):
    """No table has more than two columns, and of ToCa Cache's page all but 600 words are folded."""
    for path in (PROJECT / "web" / "docs").rglob("*.md"):
        assert {line.count("|") for line in text_of(path).splitlines() if line.startswith("|")} == {3}, path
    cache = text_of(PROJECT / "web" / "docs" / "ToCaCache.md")
    assert len(re.sub(r"<details>.*?</details>", "", cache, flags=re.DOTALL).split()) <= 600
    assert cache.count("<details>") == cache.count("</details>") > 3


def test_no_help_page_is_left_over(our_nodes):
    assert {path.stem for path in (PROJECT / "web" / "docs").glob("*.md")} == our_nodes.keys()


def test_the_host_serves_the_help_pages(our_nodes, server):
    for name, info in our_nodes.items():
        pack = info["python_module"].removeprefix("custom_nodes.")
        with urllib.request.urlopen(f"{server.url}/extensions/{pack}/docs/{name}.md") as answer:
            assert answer.read() == (PROJECT / "web" / "docs" / f"{name}.md").read_bytes()


# ---- pages that the code writes ----


def test_the_page_of_settings_is_current(our_nodes):
    """python run.py docs writes it."""
    assert text_of(PROJECT / "docs" / "settings.md") == docs.settings_page(our_nodes)


def test_every_page_is_in_the_index():
    index = text_of(PROJECT / "docs" / "README.md")
    assert [path.name for path in (PROJECT / "docs").glob("*.md") if f"({path.name})" not in index and path.name != "README.md"] == []


def test_every_page_of_figures_is_linked_from_the_numbers():
    numbers = text_of(PROJECT / "docs" / "numbers.md")
    assert [path.name for path in (PROJECT / "docs" / "bench").glob("*.md") if f"(bench/{path.name})" not in numbers] == []


# ---- links ----


def links_of(page: str) -> list[str]:
    """What a page links to or shows, outside of code."""
    prose = re.sub(r"`[^`\n]*`", "", FENCE.sub("", page))
    return re.findall(r"\]\(([^)\s]+)\)", prose) + re.findall(r"(?:src|srcset|href)=\"([^\"]+)\"", prose)


def anchors_of(page: str) -> set[str]:
    """The headings of a page, as GitHub names them."""
    return {docs.anchor(title) for title in re.findall(r"^#+ (.+)$", FENCE.sub("", page), re.MULTILINE)}


def broken(path) -> list[str]:
    found = []
    for link in links_of(text_of(path)):
        if link.startswith("https://"):
            continue
        place, _, part = link.partition("#")
        target = (path.parent / place).resolve() if place else path
        if not target.exists() or part and part not in anchors_of(text_of(target)):
            found.append(link)
    return found


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_links_lead_somewhere(path):
    assert broken(path) == []


def test_a_link_that_leads_nowhere_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# One two\n[a](page.md) [b](#one-two) `[c](code.md)` [d](gone.md) [e](page.md#three) <img src=\"no.png\">\n"
                    "```\n[f](fenced.md)\n```\n", encoding="utf-8")
    assert broken(page) == ["gone.md", "page.md#three", "no.png"]


def test_the_readme_names_templates_that_exist():
    named = set(re.findall(r"`(\w+)`", text_of(PROJECT / "README.md")))
    there = {path.stem for path in (PROJECT / "workflows").glob("*.json")}
    assert there <= named and {name for name in named if name.startswith(("demo_", "load_", "flux_"))} <= there


# ---- figures ----


def test_no_figure_is_stated_on_two_pages():
    """Of those that are measured, outside of code and of pages that a command writes; docs/bench has them step by step."""
    seen = {}
    for path in [PROJECT / "README.md", *(PROJECT / "docs").glob("*.md")]:
        if path.name not in ("settings.md", "models.md", "templates.md"):
            prose = re.sub(r"`[^`\n]*`", "", FENCE.sub("", text_of(path)))
            for figure in re.findall(r"\d+\.\d+(?:x| dB| GB|%)|\d+(?: MB|%)", prose):
                seen.setdefault(figure, set()).add(name_of(path))
    assert {figure: pages for figure, pages in seen.items() if len(pages) > 1} == {}


# ---- issues and checks ----


def test_every_issue_template_asks_for_the_report():
    folder = PROJECT / ".github" / "ISSUE_TEMPLATE"
    templates = [yaml.safe_load(text_of(path)) for path in folder.glob("*.yml") if path.name != "config.yml"]
    assert {template["name"] for template in templates} == {"Wrong picture", "No speed-up", "Crash or error"}
    for template in templates:
        report = next(part for part in template["body"] if part.get("id") == "report")
        assert report["attributes"]["render"] == "json" and "ToCa Report" in report["attributes"]["description"]


def test_tools_have_one_version_wherever_they_are_named():
    hooks = {hook["id"]: hook for repo in yaml.safe_load(text_of(PROJECT / ".pre-commit-config.yaml"))["repos"] for hook in repo["hooks"]}
    assert hooks["ruff"]["additional_dependencies"][0] in text_of(PROJECT / "requirements-dev.txt").split()
    assert f"{hooks['biome']['additional_dependencies'][0]} lint" in text_of(PROJECT / ".github" / "workflows" / "ci.yml")


# ---- commands ----


PYTESTS = {"--cov", "--cov-context", "--junit-xml"}


def commands_of(pages) -> set[tuple[str, str]]:
    return {found for path in pages for found in COMMAND.findall(text_of(path))}


def test_the_readmes_two_commands_are_there():
    assert "\n```\npython run.py demo\npython run.py test\n```\n" in text_of(PROJECT / "README.md")


def source_of(script: str) -> str:
    """A command's script, with run.py and the tools and benchmarks that it takes names from, where options may be added."""
    source = text_of(PROJECT / script)
    imports = re.findall(r"^from ((?:tools|benchmarks)[\w.]*) import (.*)", source, re.MULTILINE)
    modules = [module for package, names in imports for module in (package, *(f"{package}.{name}" for name in names.split(", ")))]
    files = [PROJECT / "run.py", *(PROJECT / f"{module.replace('.', '/')}.py" for module in modules)]
    return source + "".join(text_of(path) for path in files if path.is_file())


def test_commands_exist_with_their_options():
    pages = [*PAGES, *HELP_PAGES, *(PROJECT / ".github").rglob("*.md")]
    for command, arguments in sorted(commands_of(pages)):
        assert command == "test" or command in run.SCRIPTS, command
        options = set(re.findall(r"--[a-z-]+", arguments)) - {"--host"} - (PYTESTS if command == "test" else set())
        source = source_of(run.MATRIX_SCRIPT if command == "test" else run.SCRIPTS[command])
        assert [option for option in options if f'"{option}"' not in source] == [], (command, arguments)


def test_every_command_is_on_the_page_of_commands():
    assert {command for command, _ in commands_of([PROJECT / "docs" / "commands.md"])} == {"test", *run.SCRIPTS}


@pytest.mark.parametrize("command", LIGHT)
def test_commands_say_how_they_are_used(command):
    done = subprocess.run([sys.executable, "run.py", command, "--help"], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"run.py {command}" in done.stdout


def test_the_test_command_collects_the_tests():
    done = subprocess.run([sys.executable, "run.py", "test", "--collect-only", "-q", "tests/core/test_schedule.py"], cwd=PROJECT,
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "test_schedule.py" in done.stdout


def test_pages_name_versions_of_the_host_that_can_be_had():
    named = {name_of(path): set(re.findall(r"\b0\.[1-9]\d\.\d+\b", text_of(path))) for path in PAGES}
    assert named["docs/commands.md"] == set(environment.ARCHIVES)
    assert {page: versions - set(environment.ARCHIVES) for page, versions in named.items() if versions - set(environment.ARCHIVES)} == {}
