"""Preset files: what is written, what is read back, and files that are broken, newer or named in any script."""

import json
import os
import unicodedata

import pytest

from tools.pack import pack_module

STACK = {"level": "stack", "tolerance": 0.2}
GOOD = json.dumps(STACK)


@pytest.fixture
def refused(user_files, pack):
    """refused(name, content of its file or None, *words of the refusal) -> its text."""
    def call(name, content, *named):
        if content is not None:
            (user_files.folder("presets") / f"{name}.json").write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(pack.config.ConfigError) as refusal:
            user_files.load_preset(name)
        text = str(refusal.value)
        assert len(text) < 1500 and "\n" not in text
        for words in (name[:40], *named):
            assert words in text
        return text
    return call


# ---- what is written ----

def test_a_preset_carries_its_version_and_what_differs_in_effect(user_files, pack):
    config = pack.config.ToCaConfig(level="stack", tolerance=0.31, score="cross_attn", fresh_ratio=0.4, layer_slope=0.5, cycle_rule="dit",
                                    layer_divisor=27, spread_bonus=0.4, warmup_steps=3, memory_budget=2.0, max_gap=0)
    user_files.save_preset("mine", config)
    assert json.loads(user_files.preset_file("mine").read_text()) == {
        "version": 1, "level": "stack", "tolerance": 0.31, "warmup_steps": 3, "memory_budget": 2.0}
    user_files.save_preset("modules", pack.config.ToCaConfig(score="random", block_ratios=(("mlp", (0.1, 0.2)),), refresh_ratio=0.5))
    assert json.loads(user_files.preset_file("modules").read_text()) == {
        "version": 1, "score": "random", "block_ratios": [["mlp", [0.1, 0.2]]]}
    assert user_files.load_preset("modules").block_ratios == (("mlp", (0.1, 0.2)),)


@pytest.mark.parametrize("content, short, long", [
    (STACK, 2, 8), ({**STACK, "version": 1}, 2, 8), ({**STACK, "version": 1, "max_gap": 5}, 5, 5), ({**STACK, "max_gap": 2}, 2, 2)])
def test_the_longest_gap_is_that_of_the_runs_own_steps_unless_it_is_set(user_files, pack, tiny_dit, content, short, long):
    user_files.preset_file("mine").write_text(json.dumps(content))
    assert gaps(user_files, pack, tiny_dit) == [short, long]


def gaps(user_files, pack, tiny_dit):
    """What the preset comes to in runs of 8 and of 50 steps."""
    system, (bound, _) = pack.systems.system_of(tiny_dit.diffusion_model), pack.systems.bound_of(tiny_dit.diffusion_model)
    settings = pack.settings.read(bound.layout, "mine")
    return [settings.resolve(system, bound, steps)[0].max_gap for steps in (8, 50)]


def test_a_file_of_before_there_were_versions_loads(user_files, pack, tiny_dit):
    """It held every setting, and as max_gap that of the run it was measured in."""
    from dataclasses import asdict
    config = pack.config.ToCaConfig(level="stack", tolerance=0.3, score="cross_attn", max_gap=2)
    user_files.preset_file("mine").write_text(json.dumps(asdict(config)))
    assert user_files.load_preset("mine") == pack.config.ToCaConfig(level="stack", tolerance=0.3, score="cross_attn", max_gap=0)
    assert gaps(user_files, pack, tiny_dit) == [2, 8]


def test_a_file_may_be_so_large_and_no_larger(user_files, refused):
    (user_files.folder("presets") / "full.json").write_text(GOOD + " " * (user_files.LARGEST - len(GOOD)))
    assert user_files.load_preset("full").tolerance == STACK["tolerance"]
    refused("larger", GOOD + " " * (user_files.LARGEST + 1 - len(GOOD)), "larger than 1000 kB")


def test_a_preset_is_renamed_and_deleted(user_files, pack):
    user_files.save_preset("mine", pack.config.ToCaConfig(level="stack", tolerance=0.3))
    user_files.rename_preset("mine", "yours")
    assert user_files.saved_presets() == ["yours"] and user_files.load_preset("yours").tolerance == 0.3
    user_files.delete_preset("yours")
    assert user_files.saved_presets() == []
    with pytest.raises(pack.config.ConfigError, match="mine"):
        user_files.rename_preset("mine", "yours")


def test_a_folder_that_cannot_be_written_is_told(user_files, pack):
    user_files.folder("presets").rmdir()
    user_files.folder("presets").write_text("a file")
    with pytest.raises(pack.config.ConfigError, match="mine.*cannot be written"):
        user_files.save_preset("mine", pack.config.ToCaConfig())
    assert user_files.saved_presets() == []


# ---- what is read ----

@pytest.mark.parametrize("content", [
    GOOD.encode(), b"\xef\xbb\xbf" + GOOD.encode(), GOOD.encode("utf-16"), GOOD.encode("utf-16-le"), GOOD.encode("utf-32"),
    b'{"level": "module", "level": "stack", "tolerance": 0.2}'])
def test_every_encoding_of_json_is_read(user_files, content):
    user_files.preset_file("mine").write_bytes(content)
    assert (user_files.load_preset("mine").level, user_files.load_preset("mine").tolerance) == ("stack", 0.2)


@pytest.mark.parametrize("content", [
    "", "{", "[]", "null", "3", '"text"', "[" * 100_000, '{"a":' * 100_000, '{"cycle": ' + "9" * 400_000 + "}",
    '{"cycle": ' + "9" * 4_000_000 + "}",
    bytes(range(256)), b'{"level": "\xff\xfe"}',
    '{"version": "1"}', '{"version": 0}', '{"version": -1}', '{"version": true}', '{"version": 1.5}', '{"version": [1]}'],
    ids=lambda content: repr(content[:12]))
def test_what_holds_no_preset(refused, content):
    refused("mine", content, "cannot be used", "does not hold a preset", "delete it")


@pytest.mark.parametrize("settings, named", [
    ({"cycle": "3"}, "cycle is '3'"), ({"cycle": 0}, "cycle is 0"), ({"cycle": 2.5}, "cycle is 2.5"), ({"cycle": True}, "cycle is True"),
    ({"trust": "no"}, "trust is 'no'"), ({"token_mask": "yes"}, "token_mask is 'yes'"), ({"trust": 1}, "trust is 1"),
    ({"layer_divisor": "x"}, "layer_divisor is 'x'"), ({"layer_divisor": [1]}, "layer_divisor is [1]"),
    ({"layer_divisor": 0}, "layer_divisor is 0"),
    ({"level": ["stack"]}, "level is ['stack']"), ({"level": {}}, "level is {}"), ({"level": None}, "level is None"),
    ({"score": "x" * 100_000}, "score is 'xxx"), ({"max_gap": 1e9}, "max_gap is 1000000000.0"), ({"max_gap": -1}, "max_gap is -1"),
    ({"block_ratios": 5}, "block_ratios is 5"), ({"block_ratios": None}, "block_ratios is None"),
    ({"block_ratios": [["mlp"]]}, "block_ratios is"),
    ({"block_ratios": [["mlp", [2]]]}, "block_ratios: mlp, block 0 is 2"), ({"block_ratios": [[["a"], [0.1]]]}, "block_ratios is"),
    ({"block_ratios": {"mlp": [0.1]}}, "block_ratios is"), ({"block_ratios": "mlp: 0.1"}, "block_ratios is 'mlp: 0.1'"),
    ({"block_ratios": [[5, [0.1]]]}, "block_ratios is"), ({"block_ratios": [["mlp", []]]}, "no ratio for mlp"),
    ({"block_ratios": [["mlp", ["x"]]]}, "block 0 is 'x'"), ({"block_ratios": [["mlp", [0.1]], ["mlp", [0.2]]]}, "mlp twice"),
    ({"tolerance": 0.2}, "needs level stack"), ({"start_percent": 0.9, "end_percent": 0.1}, "start_percent is 0.9"),
    ({"memory_budget": 10 ** 300}, "memory_budget is 1000")])
def test_settings_that_cannot_be(refused, settings, named):
    refused("mine", json.dumps(settings), "cannot be used", named)


def test_numbers_beyond_floating_point(refused):
    for number, shown in (("1e999", "inf"), ("Infinity", "inf"), ("NaN", "nan")):
        refused("mine", f'{{"fresh_ratio": {number}}}', "cannot be used", f"fresh_ratio is {shown}")


@pytest.mark.parametrize("content, named", [
    ({"version": 2, **STACK}, "version 2"), ({"version": 10 ** 99}, "version 1000"), ({"version": 2, "new_thing": [1]}, "version 2"),
    ({"new_thing": 1}, "new_thing"), ({"version": 1, "new_thing": 1}, "new_thing"), ({"x\n" * 100_000: 1}, "x\\nx")])
def test_a_newer_file_is_not_to_be_deleted(refused, content, named):
    text = refused("mine", json.dumps(content), "cannot be used", "newer version", "update ToCa", named)
    assert "delete" not in text


def test_what_is_no_file(user_files, refused):
    folder = user_files.folder("presets")
    (folder / "folder.json").mkdir()
    (folder / "nowhere.json").symlink_to(folder / "gone")
    (folder / "circle.json").symlink_to(folder / "circle.json")
    os.mkfifo(folder / "pipe.json")
    assert user_files.saved_presets() == ["circle", "folder", "nowhere", "pipe"]
    for name in user_files.saved_presets():
        refused(name, None, "cannot be used", "no file")
    (folder / "target").write_text(GOOD)
    (folder / "link.json").symlink_to(folder / "target")
    assert user_files.load_preset("link").level == "stack"


@pytest.mark.parametrize("name", [
    "gone", "../auto", "a\0b", "", "x" * 100_000, "\ud800", None, 5, float("nan"), ["a"], "a/b", "a.b", "🙂", "a\nb"])
def test_what_names_no_preset(user_files, pack, name):
    with pytest.raises(pack.config.ConfigError, match="preset is ") as refusal:
        user_files.load_preset(name)
    assert len(str(refusal.value)) < 500 and "choose another" in str(refusal.value)


# ---- names ----

NAMES = ["ünï", "电影", "нуар", "my style-2", "नमस्ते", "CONTRAST", "com10", "nul_", "ß", "٣", "ab" * 40, "电" * 80]


@pytest.mark.parametrize("name", NAMES)
def test_names_of_every_script_are_saved_listed_and_loaded(user_files, pack, name):
    for given in (name, unicodedata.normalize("NFD", name)):
        assert user_files.check_name("save_as", given, ("auto",)) == name
    config = pack.config.ToCaConfig(level="stack", tolerance=0.3, max_gap=0)
    user_files.save_preset(name, config)
    [file] = user_files.folder("presets").iterdir()
    assert len(os.fsencode(file.name)) <= 255 and user_files.saved_presets() == [name] and user_files.load_preset(name) == config
    file.rename(file.with_name(unicodedata.normalize("NFD", file.name)))        # as some file systems give it back
    assert user_files.saved_presets() == [name] and user_files.load_preset(name) == config
    [listed] = [entry for entry in pack_module("nodes.toca_cache").ToCaCache.define_schema().inputs if entry.id == "preset"]
    assert listed.options == ["auto", "quality", "paper", "custom", name]


@pytest.mark.parametrize("name", [
    "CON", "con", "Nul", "PRN", "aux", "COM1", "lpt9", "COM¹", "a.", "a ", " a", ".", "", "a.b", "a/b", "a\\b", "a:b", "a\0",
    "🙂", "a\u202eb", "\ud800",
    "x" * 81, "𠀀" * 80, "auto", "AUTO", None, 5])
def test_names_that_not_every_system_can_have_are_refused(user_files, pack, name):
    with pytest.raises(pack.config.ConfigError, match="save_as is "):
        user_files.check_name("save_as", name, ("auto",))


def test_a_file_of_such_a_name_is_listed_all_the_same(user_files):
    for name in ("CON", "with space"):
        user_files.preset_file(name).write_text(GOOD)
    user_files.preset_file("a.b").write_text(GOOD)
    assert user_files.saved_presets() == ["CON", "with space"] and user_files.load_preset("CON").level == "stack"
