"""What holds for every input: settings, ratios, preset user_files, questions and model files are taken, or refused in a sentence."""

import json
import string
import struct
from dataclasses import fields

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from tools.pack import pack_module

checks, config = pack_module("toca_core.checks"), pack_module("toca_core.config")
FIELDS = [field.name for field in fields(config.ToCaConfig)]
NONE_AT_ZERO = {("cross_attn_cycle", 0), ("mlp_cycle", 0)}          # widgets have no other way to say none
NUMBERS = st.one_of(st.integers(), st.floats(), st.sampled_from([10 ** 400, -1, 0, 1, 0.5, 2, 100]))
LEAVES = st.one_of(st.none(), st.booleans(), NUMBERS, st.text(max_size=20), st.sampled_from([*config.LEVELS, *config.SCORES, "x" * 5000]))
JSON = LEAVES | st.lists(LEAVES, max_size=3) | st.dictionaries(st.text(max_size=5), LEAVES | st.lists(LEAVES, max_size=2), max_size=3)
ANYTHING = JSON | st.binary(max_size=5) | st.tuples(JSON, JSON) | st.builds(object) | st.complex_numbers() | st.just(torch.ones(2))
RATIOS = st.dictionaries(st.sampled_from(["mlp", "cross_attn", "double.img_mlp"]),
                         st.lists(st.floats(0, 1), min_size=1, max_size=4).map(tuple),
                         max_size=2).map(lambda lines: tuple(lines.items()))


def every(examples):
    """So many examples, the same ones each time, and nothing kept of them."""
    return settings(max_examples=examples, deadline=None, derandomize=True, database=None,
                    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


def taken(error, call, longest=700):
    """What call() gives; None where it is refused."""
    try:
        return call()
    except error as refusal:
        text = str(refusal)
        assert text.endswith(".") and "\n" not in text and len(text) < longest, text
        return None


# ---- settings ----

def test_every_setting_has_a_check_that_its_default_and_its_widgets_pass(pack):
    config.ToCaConfig(**{field.name: field.default for field in fields(config.ToCaConfig)})
    for name, entry in config.SETTINGS.items():
        for value in set(entry.metadata["widget"].get(end) for end in ("default", "min", "max")) - {None, -1.0}:
            if (name, value) not in NONE_AT_ZERO:
                entry.metadata["domain"](name, value)


@every(150)
@given(st.dictionaries(st.sampled_from(FIELDS), ANYTHING, min_size=1, max_size=3))
def test_settings_of_any_type_are_taken_or_refused_by_name(values):
    try:
        made = config.ToCaConfig(**values)
    except checks.ConfigError as error:
        assert any(name in str(error) for name in values) and len(str(error)) < 400
    else:
        assert isinstance(made.always_full, bool)


@every(100)
@given(ANYTHING)
def test_any_value_is_shown_on_a_short_line(value):
    assert len(checks.shown(value)) <= 100 and "\n" not in checks.shown(value)
    assert len(checks.cut(str(type(value)) * 20)) <= checks.SHOWN + 3


def lines_of(ratios):
    return "".join(f"{name}: {', '.join(map(repr, values))}\n" for name, values in ratios)


@every(60)
@given(RATIOS)
def test_ratios_come_back_from_their_text(pack, ratios):
    assert pack.block_ratios.parse_block_ratios(lines_of(ratios)) == ratios == config.ToCaConfig(block_ratios=ratios).block_ratios


@every(100)
@given(st.text(alphabet="mlp:cross_attn .,\n0123456789eE+-_naif🙂\t\r\0x\ud800", max_size=40) | st.text(max_size=20) | ANYTHING)
def test_any_text_of_ratios_is_taken_or_refused(pack, text):
    parsed = taken(checks.ConfigError, lambda: config.ToCaConfig(block_ratios=pack.block_ratios.parse_block_ratios(text)))
    assert parsed is None or all(0 <= ratio <= 1 for _, ratios in parsed.block_ratios for ratio in ratios)


# ---- preset files ----


@every(120)
@given(st.binary(max_size=50) | JSON.map(json.dumps).map(str.encode) | st.dictionaries(
    st.sampled_from([*FIELDS, "version", "new"]), JSON, max_size=4).map(json.dumps).map(str.encode))
def test_any_preset_file_is_used_or_refused(user_files, content):
    user_files.preset_file("mine").write_bytes(content)
    taken(checks.ConfigError, lambda: user_files.load_preset("mine"), 1000)


@every(60)
@given(level=st.sampled_from(config.LEVELS), tolerance=st.floats(0, 100), gap=st.integers(0, 100), score=st.sampled_from(config.SCORES),
       ratios=RATIOS, trust=st.booleans(), budget=st.floats(0, 1024), cycle=st.integers(1, 100))
def test_a_saved_preset_comes_back_with_all_that_counts(user_files, level, tolerance, gap, score, ratios, trust, budget, cycle):
    chosen = config.ToCaConfig(level=level, tolerance=None if level == "module" else tolerance, max_gap=gap, score=score,
                               block_ratios=ratios, trust=trust, memory_budget=budget, cycle=cycle)
    user_files.save_preset("mine", chosen)
    loaded = user_files.load_preset("mine")
    assert all(getattr(loaded, name) == getattr(chosen, name) for name in FIELDS if chosen.counts(name))


@every(200)
@given(st.text(max_size=90))
def test_a_name_that_may_be_saved_is_listed_and_found(user_files, name):
    name = taken(checks.ConfigError, lambda: user_files.check_name("save_as", name, ("auto",)))
    if name is not None:
        user_files.save_preset(name, config.ToCaConfig(level="stack", tolerance=0.3, max_gap=0))
        assert user_files.saved_presets() == [name] and user_files.load_preset(name).tolerance == 0.3
        user_files.preset_file(name).unlink()


# ---- questions of the chart ----

WIDGETS = st.dictionaries(st.sampled_from(["fresh_ratio", "cycle", "preset", "level", "score", "tolerance", "block_ratios", "nope"]),
                          LEAVES | st.sampled_from(["custom", "paper", "stack", "output", "mlp: 0.1"]), max_size=4)
QUESTIONS = st.fixed_dictionaries({}, optional={"node": LEAVES, "system": LEAVES | st.sampled_from(["dit", "flux", "pixart"]),
                                                "widgets": WIDGETS | JSON, "ratios": LEAVES | RATIOS.map(lines_of)})


@every(100)
@given(st.binary(max_size=30) | (JSON | QUESTIONS).map(json.dumps).map(str.encode))
def test_any_question_is_answered(user_files, body):
    routes, prediction = pack_module("nodes.routes"), pack_module("nodes.prediction")

    def refuse(word):
        raise AssertionError(f"{word} in the answer")

    asked = taken(checks.ConfigError, lambda: routes.read(body))
    said = asked and taken(checks.ConfigError, lambda: prediction.foresee(**asked))
    if said:
        assert json.loads(routes.answer(said).text, parse_constant=refuse)["preset"]


# ---- model files ----

def numbers(data):
    length = struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8:8 + length]), data[8 + length:]


KEYS = st.text(string.ascii_lowercase + string.digits + "._", max_size=12) | st.sampled_from(["blocks.1.x", "blocks.7.x", "ema"])
PLAIN = st.sampled_from([torch.ones(2), torch.ones(()), 1, "x", [torch.ones(1)]])
SHAPES = st.lists(st.sampled_from([0, 1, 2, 3, 48, 96, 10 ** 9]), max_size=5)


@every(60)
@given(data=st.data())
def test_any_change_of_a_file_is_loaded_or_refused(pack, weights, tmp_path, data):
    """Of its header: a shape, a type, a place, a name, the metadata; or of the bytes."""
    said, body = numbers(save(weights.dit(depth=1), {"num_heads": "4"}))
    key = data.draw(st.sampled_from([name for name in said if name != "__metadata__"]))
    change = data.draw(st.sampled_from(["shape", "dtype", "data_offsets", "key", "metadata", "cut", "extra"]))
    if change == "shape":
        said[key]["shape"] = data.draw(SHAPES)
    elif change == "dtype":
        said[key]["dtype"] = data.draw(st.sampled_from(["I8", "U8", "BOOL", "F64", "F16", "I32", "X", "F8_E4M3"]))
    elif change == "data_offsets":
        said[key]["data_offsets"] = data.draw(st.lists(st.integers(0, 2 * len(body)), max_size=3))
    elif change == "key":
        said[data.draw(KEYS)] = said.pop(key)
    elif change == "metadata":
        said["__metadata__"] = data.draw(st.dictionaries(st.sampled_from(["num_heads", "class_names", "prediction"]), st.text(max_size=9)))
    elif change == "cut":
        body = body[:data.draw(st.integers(0, len(body) - 1))]
    else:
        said[data.draw(KEYS)] = {"dtype": "F32", "shape": [0], "data_offsets": [len(body)] * 2}
    header = json.dumps(said).encode()
    (tmp_path / "file.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + body)
    taken(pack.loading.CheckpointError, lambda: pack.dit_loader.load_dit(str(tmp_path / "file.safetensors")), 1500)


@every(60)
@given(JSON | st.dictionaries(KEYS | st.integers(), PLAIN, max_size=4))
def test_any_pickle_of_plain_things_is_refused(pack, tmp_path, value):
    torch.save(value, tmp_path / "file.pt")
    assert taken(pack.loading.CheckpointError, lambda: pack.dit_loader.load_dit(str(tmp_path / "file.pt")), 1500) is None
