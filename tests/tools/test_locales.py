"""The pack in other languages: every node, input and output is translated, and every help page is there and says the same in figures."""

import json
import re
import urllib.request

import pytest

from tools.server import PROJECT

LANGUAGES = sorted(path.name for path in (PROJECT / "locales").iterdir())
CHINESE = re.compile(r"[\u4e00-\u9fff]")
UNTRANSLATED = {"CFG", "CLIP", "JSON", "Latent", "PSNR", "SSIM", "Sigmas", "VAE"}     # names that are the same in every language
WORDS = {"on": "开", "off": "关", "empty": "空", "files": "文件"}
SYNTAX = re.compile(r"[{}@|]")      # means something to the host's translator, which would not show it as it is


@pytest.fixture(scope="module", params=LANGUAGES)
def language(request):
    return request.param


@pytest.fixture(scope="module")
def translations(language):
    return json.loads((PROJECT / "locales" / language / "nodeDefs.json").read_text(encoding="utf-8"))


def inputs_of(info) -> dict:
    return {**info["input"].get("required", {}), **info["input"].get("optional", {})}


def test_the_languages_are_those_of_the_host():
    assert LANGUAGES == ["zh"]


def test_every_node_input_and_output_is_translated_and_none_is_left_over(our_nodes, translations):
    assert translations.keys() == our_nodes.keys()
    for name, info in our_nodes.items():
        node = translations[name]
        assert node.keys() == {"display_name", "description", "inputs", "outputs"}, name
        assert node["inputs"].keys() == inputs_of(info).keys(), name
        assert node["outputs"].keys() == {str(slot) for slot in range(len(info["output"]))}, name
        assert "ToCa" in node["display_name"] and CHINESE.search(node["description"]), name


def test_every_name_and_tooltip_is_in_the_language(translations):
    for node, entry in translations.items():
        for part in (*entry["inputs"].values(), *entry["outputs"].values()):
            assert part.keys() == {"name", "tooltip"}, (node, part)         # `options` would translate what workflows store
            assert CHINESE.search(part["tooltip"]), (node, part)
            assert CHINESE.search(part["name"]) or part["name"] in UNTRANSLATED, (node, part)


def test_names_within_a_node_are_told_apart(translations):
    for node, entry in translations.items():
        for group in ("inputs", "outputs"):
            names = [part["name"] for part in entry[group].values()]
            assert len(set(names)) == len(names), (node, group)


def test_nothing_is_taken_for_syntax_by_the_hosts_translator(translations):
    for node, entry in translations.items():
        parts = [entry, *entry["inputs"].values(), *entry["outputs"].values()]
        texts = [text for part in parts for text in part.values() if isinstance(text, str)]
        assert not [text for text in texts if SYNTAX.search(text)], node


def test_option_values_are_named_as_workflows_store_them(our_nodes, translations):
    """Where an English tooltip explains an option by its value, so does the translation."""
    for name, info in our_nodes.items():
        for key, spec in inputs_of(info).items():
            options = spec[1] if len(spec) > 1 else {}
            choices = spec[0] if isinstance(spec[0], list) else options.get("options") or []
            explained = [choice for choice in choices if isinstance(choice, str) and f"{choice}: " in options.get("tooltip", "")]
            tooltip = translations[name]["inputs"][key]["tooltip"]
            assert all(choice in tooltip for choice in explained), (name, key, explained)


def test_the_host_serves_the_translations(server, language, translations):
    """By name only: a second copy of the pack beside this one is read by the host too, and its words may go before."""
    with urllib.request.urlopen(f"{server.url}/i18n") as answer:
        served = json.load(answer)[language]["nodeDefs"]
    for name, entry in translations.items():
        for group in ("inputs", "outputs"):
            assert served[name][group].keys() >= entry[group].keys(), name


# ---- help pages ----


def page_of(name, language):
    return (PROJECT / "web" / "docs" / name / f"{language}.md").read_text(encoding="utf-8")


def localised(figures):
    """Range and default at the end of what an input does: "*0 to 1; default on*" -> "*0 到 1；默认 开*"."""
    def part(words):
        value = words.removeprefix("default ")
        value = WORDS.get(value, re.sub(r"^(\S+) to (\S+)$", r"\1 到 \2", value))
        return value if value == words or not words.startswith("default ") else f"默认 {value}"
    return "；".join(map(part, figures.split("; ")))


def test_every_help_page_has_the_inputs_of_the_english_one_with_the_same_figures(our_nodes, rows, language, translations):
    for name in our_nodes:
        english = rows((PROJECT / "web" / "docs" / f"{name}.md").read_text(encoding="utf-8"))
        page = page_of(name, language)
        assert page.startswith(f"# {translations[name]['display_name']}\n"), name
        translated = rows(page)
        assert list(translated) == list(english), name
        for key, row in english.items():
            figures = re.search(r" \*([^*]+)\*$", row["what it does"])
            assert not figures or translated[key]["说明"].endswith(f" *{localised(figures[1])}*"), (name, key)
            assert translated[key]["说明"].startswith(f"**{translations[name]['inputs'][key]['name']}**："), (name, key)


def test_every_help_page_has_every_output(our_nodes, language, translations):
    for name, info in our_nodes.items():
        outputs = page_of(name, language).split("## 输出")[1]
        for slot, output in enumerate(info["output_name"]):
            assert f"| `{output}` | **{translations[name]['outputs'][str(slot)]['name']}**：" in outputs, (name, output)


def test_no_help_page_is_left_over(our_nodes):
    found = {(path.parent.name, path.stem) for path in (PROJECT / "web" / "docs").glob("*/*.md")}
    assert found == {(name, language) for name in our_nodes for language in LANGUAGES}


def test_a_help_page_quotes_the_messages_that_the_english_one_explains(our_nodes, language):
    """Messages come in English whatever the language, so the page must name them as they come."""
    for name in our_nodes:
        english = (PROJECT / "web" / "docs" / f"{name}.md").read_text(encoding="utf-8")
        messages = re.findall(r"^- (\*[^*]+\*)", english.partition("## When it refuses")[2], re.MULTILINE)
        page = page_of(name, language)
        assert [message for message in messages if message not in page] == [], name


def test_pictures_that_pages_show_exist(our_nodes, language):
    """Beside the English page, which is where the host looks for them whatever the language."""
    folder = PROJECT / "web" / "docs"
    for name in our_nodes:
        english = (folder / f"{name}.md").read_text(encoding="utf-8")
        for page, where in ((page_of(name, language), f"images/{language}"), (english, "images")):
            shown = re.findall(r"!\[[^]]+\]\(([^)]+)\)", page)
            assert f"{where}/{name}_dark.png" in shown, name
            assert [picture for picture in shown if not (folder / picture).is_file()] == [], name
