"""Prompts with values that no widget gives: each is refused with its input's name, or works; nothing is written, the server stays up."""

import json
import urllib.error
import urllib.request

import pytest

from tools.server import PromptRejected

NAN, INF = float("nan"), float("inf")
LONG = "x" * 5000
NUMBERS = (NAN, INF, -INF, -1e308, 10 ** 400, "abc", "", None, {}, True, "9" * 5000)
WORDS = ("", "Module", 5, None, NAN, {"a": 1}, LONG, "\ud800", "a\0b", True)
FLOATS = ("fresh_ratio", "mlp_share", "cross_attn_share", "parallel_mlp_share", "layer_slope", "step_slope", "staleness_weight",
          "spread_bonus", "start_percent", "end_percent", "tolerance", "memory_budget")
WHOLES = ("cycle", "spread_cell", "warmup_steps", "cross_attn_cycle", "mlp_cycle", "order")
CHOICES = ("score", "cycle_rule", "level", "stale_tokens", "cache_device", "cache_dtype", "preset")
TEXTS = ("mlp:", ":", "mlp", "mlp: 0.1\nmlp: 0.2", "mlp: 1e400", "mlp: nan", "🙂: 0.2", "mlp: " + "0.1," * 100_000, "a" * 1_000_000,
         "9" * 500_000, "mlp: -0", "\0", "mlp: \ud800", 5, None, {"a": 1}, "\n" * 100_000,
         "".join(f"m{index}: 1\n" for index in range(5000)))


@pytest.fixture(scope="module")
def defaults(server):
    """node id -> {input: default} of the widgets that have one."""
    def of(info):
        inputs = {**info["input"].get("required", {}), **info["input"].get("optional", {})}
        return {name: entry[1]["default"] for name, entry in inputs.items() if len(entry) > 1 and "default" in entry[1]}
    return {name: of(info) for name, info in server.client().our_nodes().items()}


@pytest.fixture(scope="module", autouse=True)
def nothing_is_written(server):
    def held():
        return {path for path in server.folder.rglob("*") if path.is_file() and "temp" not in path.parts} - {server.log}
    before = held()
    yield
    assert not [path for path in held() - before if "comfyui.db" not in path.name]


@pytest.fixture
def outcome(client, defaults):
    """outcome(node, input, value, **other inputs of it) -> None where it ran, else the refusal; of a graph in which that node stands."""
    def call(node, name, value, **others):
        prompt = graph(defaults, node)
        prompt[node]["inputs"] |= {**others, name: value}
        try:
            return client.run(prompt, timeout=120).error
        except PromptRejected as error:
            return str(error)
    return call


def graph(defaults, wanted):
    """The smallest run of the demo model; with the node in it, where it is none of that run's own."""
    nodes = {
        "load": ("ToCaLoadDiT", {"model_name": "shapes_dit.safetensors"}), "label": ("ToCaDiTClass", {"model": ["load", 0]}),
        "cache": ("ToCaCache", {"model": ["load", 0], "preset": "custom"}),
        "latent": ("EmptyLatentImage", {"width": 16, "height": 16, "batch_size": 1}),
        "sample": ("KSampler", {"model": ["cache", 0], "positive": ["label", 0], "negative": ["label", 1], "latent_image": ["latent", 0],
                                "seed": 1, "steps": 2, "cfg": 2.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0}),
        "vae": ("VAELoader", {"vae_name": "pixel_space"}), "decode": ("VAEDecode", {"samples": ["sample", 0], "vae": ["vae", 0]}),
        "save": ("PreviewImage", {"images": ["decode", 0]})}
    mask = {"mask": ("SolidMask", {"value": 1.0, "width": 16, "height": 16})}
    extra = {
        "ratios": {"ratios": ("ToCaRatios", {})},
        "mask_node": {**mask, "mask_node": ("ToCaTokenMask", {"model": ["load", 0], "mask": ["mask", 0]})},
        "region": {**mask, "region": ("ToCaRegionPriority", {"model": ["load", 0], "mask": ["mask", 0]})},
        "calibrate": {"calibrate": ("ToCaCalibrate", {"model": ["load", 0], "positive": ["label", 0], "negative": ["label", 1],
                                                      "latent": ["latent", 0], "target": "within 1 GB", "steps": 2, "effort": 1}),
                      "save": ("PreviewImage", {"images": ["calibrate", 4]})},
        "compare": {"compare": ("ToCaCompare", {"baseline": ["decode", 0], "accelerated": ["decode", 0]})},
        "open_sora": {"open_sora": ("ToCaOpenSoraLatent", {}), "save": ("SaveLatent", {"samples": ["open_sora", 0]})}}
    nodes |= extra.get(wanted, {})
    link = {"ratios": ("ratios", ["ratios", 0]), "mask_node": ("model", ["mask_node", 0]), "region": ("model", ["region", 0])}.get(wanted)
    if link:
        nodes["cache"][1].update([link])
    return {name: {"class_type": kind, "inputs": {**defaults.get(kind, {}), **inputs}} for name, (kind, inputs) in nodes.items()}


@pytest.mark.parametrize("node, name", [("region", "strength"), ("calibrate", "cfg"), ("cache", "tolerance")])
def test_what_is_no_number_is_not_passed_on(outcome, node, name):
    """The host compares it with the limits of the widget, and passes it."""
    assert f"{name} is nan" in outcome(node, name, NAN)


def check(outcome, node, name, values):
    """None of the values is answered with a raw error: the refusal names the input."""
    for value in values:
        text = outcome(node, name, value)
        assert text is None or len(text) < 20_000 and name in text, (name, repr(value)[:60], text[:300])


@pytest.mark.parametrize("name", [*FLOATS, *WHOLES])
def test_numbers_of_the_cache(outcome, name):
    check(outcome, "cache", name, NUMBERS)
    assert outcome("cache", name, NAN) is not None and outcome("cache", name, INF) is not None


@pytest.mark.parametrize("preset", ["auto", "paper"])
def test_a_tolerance_that_is_no_number_is_refused_with_every_preset(outcome, preset):
    assert "tolerance is nan" in outcome("cache", "tolerance", NAN, preset=preset)


@pytest.mark.parametrize("name", CHOICES)
def test_choices_of_the_cache(outcome, name):
    check(outcome, "cache", name, WORDS)


@pytest.mark.parametrize("name", ["enable", "verbose"])
def test_switches_of_the_cache(outcome, name):
    check(outcome, "cache", name, ("false", 0, None, "x", NAN, {}))


@pytest.mark.parametrize("node, name", [("cache", "block_ratios"), ("ratios", "ratios")])
def test_ratios(outcome, node, name):
    check(outcome, node, name, TEXTS)


@pytest.mark.parametrize("node, name, values", [
    ("load", "model_name", ("../shapes_dit.safetensors", "/etc/passwd", "", None, 5, LONG)), ("load", "num_heads", (-1, 7, 257, *NUMBERS)),
    ("load", "weight_dtype", WORDS), ("load", "guidance_channels", WORDS), ("mask_node", "dilation", (-1, 65, *NUMBERS)),
    ("region", "strength", (-1.0, *NUMBERS)), ("open_sora", "frames", (0, *NUMBERS[:6])), ("open_sora", "resolution", WORDS)],
    ids=lambda value: value if isinstance(value, str) else "")
def test_other_nodes(outcome, node, name, values):
    check(outcome, node, name, values)


@pytest.mark.parametrize("name, values", [
    ("target", ("", "x", "9" * 5000 + "x", LONG * 100, "nan x", "infx", "-2x", "\0", "\ud800", None, 5, {}, "1e9x", "٢x")),
    ("steps", (0, -1, *NUMBERS)), ("cfg", NUMBERS), ("effort", (0, 65, *NUMBERS)), ("first_seed", (-1, 2 ** 64, *NUMBERS)),
    ("sampler_name", WORDS), ("scheduler", WORDS),
    ("save_as", ("../up", "CON", "a/b", "a\0b", LONG * 100, "auto", "\ud800", {}, "🙂")), ("sensitivity", ("no", None, NAN, {}))])
def test_calibrate(outcome, name, values):
    check(outcome, "calibrate", name, values)


# ---- what the host answers with, whole ----


@pytest.fixture(scope="module")
def refusals(server):
    """refusals(node class, {input: value}) -> (the errors of that node by input, length of the whole answer)."""
    def call(kind, inputs):
        prompt = {"ours": {"class_type": kind, "inputs": inputs}, "shown": {"class_type": "PreviewAny", "inputs": {"source": ["ours", 0]}}}
        request = urllib.request.Request(server.url + "/prompt", json.dumps({"prompt": prompt}).encode())
        with pytest.raises(urllib.error.HTTPError) as refusal:
            urllib.request.urlopen(request)
        answer = refusal.value.read()
        errors = json.loads(answer)["node_errors"]["ours"]["errors"]
        return {error["extra_info"].get("input_name"): error for error in errors}, len(answer)
    return call


def inputs_of(info, *kinds):
    """(name, options) of a node's widgets of these kinds."""
    entries = {**info["input"].get("required", {}), **info["input"].get("optional", {})}
    return [(name, entry[1].get("options")) for name, entry in entries.items() if entry[0] in kinds]


OWN_WORDS = {("ToCaCache", "preset")}           # a name may come with its settings behind it, which the node looks into


def test_a_long_value_is_refused_in_the_hosts_own_words_and_not_shown_whole(client, refusals):
    """Of every list and every number of our nodes."""
    for kind, info in client.our_nodes().items():
        for name, options in inputs_of(info, "COMBO", "INT", "FLOAT"):
            for value in ("x" * 100_000, {"a": "y" * 100_000}, {"__value__": "z" * 100_000}, "\ud800" * 1000):
                errors, length = refusals(kind, {name: value})
                assert length < 10_000, (kind, name, length)
                error = errors[name]
                if (kind, name) in OWN_WORDS:
                    assert error["type"] == "custom_validation_failed" and error["details"].startswith(name)
                    continue
                assert error["details"].startswith(name) and len(error["extra_info"]["received_value"]) < 250
                assert error["type"] == ("value_not_in_list" if options is not None else "invalid_input_type"), (kind, name, error)
                assert options is None or str(options) in error["details"] or f"list of length {len(options)}" in error["details"]


def test_a_value_that_is_not_long_is_shown_as_it_is(refusals):
    name = "a folder/" * 20 + "gone.safetensors"
    errors, _ = refusals("ToCaLoadDiT", {"model_name": name})
    assert errors["model_name"]["extra_info"]["received_value"] == name and repr(name) in errors["model_name"]["details"]


def test_a_graph_of_right_values_runs_after_all_that(client, defaults):
    for node in ("cache", "ratios", "mask_node", "region", "calibrate", "compare"):
        assert client.run(graph(defaults, node)).error is None, node
