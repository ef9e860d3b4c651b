"""Bad input: an error that names the value and the remedy, before sampling starts, and a host that stays up."""

import pickle
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file


def refused(error, call, *named):
    with pytest.raises(error) as refusal:
        call()
    for words in named:
        assert words in str(refusal.value)


def test_a_latent_of_the_wrong_channels(subject, cached):
    model, reports = cached(subject)
    latent = torch.ones(1, 7, *subject.frames, 16, 16)
    expected = subject.model.model.latent_format.latent_channels
    refused(ValueError, lambda: subject.sample(model, latent=latent), "7 channels", f"works on {expected}", "empty latent")
    assert reports == []


def test_another_class_called_dit_is_not_taken_for_ours(pack, tiny_dit):
    """Nor is a subclass that no entry names."""
    class DiT(torch.nn.Module):
        pass

    class Derived(type(tiny_dit.diffusion_model)):
        pass
    assert pack.systems.system_of(tiny_dit.diffusion_model).name == "dit"
    assert pack.systems.system_of(DiT()) is None and pack.systems.system_of(Derived.__new__(Derived)) is None


def test_a_conditioning_without_a_class(tiny_dit, cached):
    model, _ = cached(tiny_dit)
    tiny = type(tiny_dit)(tiny_dit.name, tiny_dit.model, [[torch.zeros(1, 4, 8), {}]], tiny_dit.negative)
    refused(ValueError, lambda: tiny.sample(model), "no class label", "ToCa DiT Class")


def test_a_class_of_another_model(tiny_dit, pack):
    tiny = type(tiny_dit)(tiny_dit.name, tiny_dit.model, pack.dit_loader.conditioning([700]), tiny_dit.negative)
    refused(ValueError, tiny.sample, "Class label 700", "5 classes")


def test_a_score_the_model_cannot_give(tiny_dit, pack):
    config = pack.config.ToCaConfig(score="cross_attn")
    refused(ValueError, lambda: fit(pack, tiny_dit, config), "cross-attention", "choose")


def test_a_score_that_a_level_never_uses_is_not_refused(tiny_dit, pack):
    config = pack.config.ToCaConfig(score="cross_attn", level="stack", tolerance=0.2)
    assert fit(pack, tiny_dit, config) == (config, [])


@pytest.mark.parametrize("preset", ["auto", "quality", "paper", "custom"])
def test_a_tolerance_of_no_percentage_is_refused_whatever_the_preset(pack, preset):
    for tolerance in (-1.01, 100.01, float("nan")):
        refused(ValueError, partial(pack.settings.read, None, preset, tolerance=tolerance), "tolerance", str(tolerance), "-1 to 100")
    assert [pack.settings.read(None, preset, level="stack", tolerance=tolerance).tolerance for tolerance in (-1, 0, 100)] == [None, 0, 100]


def fit(pack, subject, config):
    return pack.settings.fit(config, pack.systems.system_of(subject.diffusion_model), pack.systems.bound_of(subject.diffusion_model)[0])


def fitted(pack, subject, text):
    """Ratios as text -> (those that the subject's model follows, what was changed)."""
    config = pack.config.ToCaConfig(score="random", block_ratios=pack.block_ratios.parse_block_ratios(text))
    config, remarks = fit(pack, subject, config)
    return dict(config.block_ratios), remarks


@pytest.mark.parametrize("text, named", [("mlp: 0.2, high", "'high'"), ("mlp: 1.5", "1.5"), ("mlp: -0.1", "-0.1"), ("mlp: nan", "nan"),
                                         ("self_attn: 0.1", "self_attn"), ("mlp: 0.1\n0.2", "mlp twice"),
                                         ("mpl: 0.1", "mpl"), ("mlp:", "no ratio for mlp")])
def test_block_ratios(tiny_dit, pack, text, named):
    refused(ValueError, lambda: fitted(pack, tiny_dit, text), named, "block_ratios")


def test_ratios_for_another_depth_are_resampled(tiny_dit, pack):
    """A DiT of 4 blocks: 0.1, 0.7 lie at its ends, two thirds and one third of the way between them."""
    assert fitted(pack, tiny_dit, "mlp: 0.1, 0.7") == ({"mlp": (0.1, 0.3, 0.5, 0.7)}, ["mlp: 2 ratios were resampled to 4 blocks"])
    assert fitted(pack, tiny_dit, "mlp: 0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6")[0] == {"mlp": (0.0, 0.2, 0.4, 0.6)}
    assert fitted(pack, tiny_dit, "mlp: 0.1, 0.2, 0.3, 0.4") == ({"mlp": (0.1, 0.2, 0.3, 0.4)}, [])
    assert fitted(pack, tiny_dit, "mlp: 0.2") == ({"mlp": (0.2,)}, [])


def test_ratios_for_another_model_are_taken_by_kind_or_left_out(tiny_dit, pack):
    taken, remarks = fitted(pack, tiny_dit, "double.img_mlp: 0.4\ndouble.txt_mlp: 0.1\nsingle.mlp: 0.2\ncross_attn: 0.3")
    assert taken == {"mlp": (0.4,)}
    assert remarks == ["The ratios of double.img_mlp were taken for mlp",
                       "The ratios of double.txt_mlp were left out, since those of mlp count here",
                       "The ratios of single.mlp were left out, since those of mlp count here",
                       "The ratios of cross_attn were left out, since this model has no such modules"]
    assert fitted(pack, tiny_dit, "parallel_mlp: 0.5\nmlp: 0.1")[0] == {"mlp": (0.1,)}
    assert fitted(pack, tiny_dit, "parallel_mlp: 0.5, 0.2")[0] == {"mlp": (0.5, 0.4, 0.3, 0.2)}


def test_block_ratios_as_meant(pack):
    parse = pack.block_ratios.parse_block_ratios
    assert parse("") == () and parse(None) == ()
    assert parse("0.5") == (("mlp", (0.5,)),)
    assert parse("mlp: 0.1, 0.2 0.3\n\ndouble.img_mlp: 0") == (("mlp", (0.1, 0.2, 0.3)), ("double.img_mlp", (0.0,)))


@pytest.fixture
def load(pack, tmp_path):
    """load(kind, weights, metadata) writes the weights to a file and loads it."""
    def call(kind, weights, metadata=None, name="file.safetensors"):
        path = tmp_path / name
        save_file(weights, path, metadata)
        return {"dit": pack.dit_loader.load_dit, "pixart": pack.pixart.load_pixart}[kind](str(path))
    return call


def test_a_file_of_another_model(load, weights, pack):
    error = pack.loading.CheckpointError
    refused(error, lambda: load("dit", weights.pixart()), "file.safetensors", "no DiT checkpoint", "y_embedder.embedding_table.weight")
    refused(error, lambda: load("pixart", weights.dit()), "no PixArt checkpoint", "t_block.1.weight")


@pytest.mark.parametrize("kind", ["dit", "pixart"])
def test_missing_left_over_and_misshapen_keys(load, weights, pack, kind):
    def broken(change):
        state = getattr(weights, kind)()
        change(state)
        return lambda: load(kind, state, {"num_heads": "4"})
    error = pack.loading.CheckpointError
    refused(error, broken(lambda w: w.pop("blocks.1.attn.proj.bias")), "1 keys missing", "blocks.1.attn.proj.bias")
    refused(error, broken(lambda w: w.update({"lora.down": torch.zeros(2)})), "1 left over", "lora.down")
    refused(error, broken(lambda w: w.update({"blocks.1.attn.proj.bias": torch.zeros(3)})), "blocks.1.attn.proj.bias", "(3,)", "(48,)")


def test_a_head_count_that_cannot_be_known_or_be_right(load, weights, pack):
    refused(pack.loading.CheckpointError, lambda: load("dit", weights.dit()), "hidden size 48", "set num_heads")
    refused(pack.loading.CheckpointError, lambda: load("dit", weights.dit(), {"num_heads": "5"}), "num_heads is 5", "divide")


def test_a_truncated_checkpoint(pack, checkpoints, tmp_path):
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(Path(checkpoints["dit"]).read_bytes()[:5000])
    refused(pack.loading.CheckpointError, lambda: pack.dit_loader.load_dit(str(cut)), "cut.safetensors", "download it again")
    for content in (b"PK\x03\x04 not much", b""):
        (tmp_path / "cut.pt").write_bytes(content)
        refused(pack.loading.CheckpointError, lambda: pack.dit_loader.load_dit(str(tmp_path / "cut.pt")), "cut.pt")


class Payload:
    """A pickle that would create a file when opened carelessly."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("save", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value, protocol=2))])
def test_a_pickle_with_code_in_it_never_runs(pack, tmp_path, save):
    evil, trace = tmp_path / "evil.pt", tmp_path / "ran"
    save({"x_embedder.proj.weight": Payload(trace)}, evil)
    refused(pack.loading.CheckpointError, lambda: pack.dit_loader.load_dit(str(evil)), "evil.pt", "more than tensors")
    assert not trace.exists()


@pytest.mark.parametrize("wrapping", [None, "ema", "state_dict"])
def test_a_pt_file_of_plain_tensors_loads(pack, weights, tmp_path, wrapping):
    state = weights.dit()
    torch.save({wrapping: state, "epoch": 3} if wrapping else state, tmp_path / "dit.pt")
    model = pack.dit_loader.load_dit(str(tmp_path / "dit.pt"), num_heads=4)
    assert torch.equal(model.model.diffusion_model.pos_embed, state["pos_embed"])


# ---- through the server ----

def graph(**changes):
    """A small graph around the demo model; `changes` are node inputs such as cache_cycle=0 or latent_width=32."""
    nodes = {
        "load": ("ToCaLoadDiT", {"model_name": "shapes_dit.safetensors", "weight_dtype": "default", "num_heads": 0}),
        "label": ("ToCaDiTClass", {"model": ["load", 0], "label": "red circle"}),
        "cache": ("ToCaCache", {"model": ["load", 0], "enable": True, "preset": "custom", "fresh_ratio": 0.1, "cycle": 3, "mlp_share": 1.6,
                                "cross_attn_share": 0.6, "layer_slope": 0.0, "score": "auto", "step_slope": 0.0, "cycle_rule": "fixed",
                                "staleness_weight": 0.25, "spread_bonus": 0.4, "spread_cell": 2, "start_percent": 0.0, "end_percent": 1.0,
                                "warmup_steps": 1, "verbose": False, "block_ratios": ""}),
        "latent": ("EmptyLatentImage", {"width": 64, "height": 64, "batch_size": 1}),
        "sample": ("KSampler", {"model": ["cache", 0], "positive": ["label", 0], "negative": ["label", 1], "latent_image": ["latent", 0],
                                "seed": 1, "steps": 4, "cfg": 2.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0}),
        "vae": ("VAELoader", {"vae_name": "pixel_space"}),
        "decode": ("VAEDecode", {"samples": ["sample", 0], "vae": ["vae", 0]}),
        "save": ("SaveImage", {"images": ["decode", 0], "filename_prefix": "refusals"})}
    prompt = {name: {"class_type": kind, "inputs": dict(inputs)} for name, (kind, inputs) in nodes.items()}
    for change, value in changes.items():
        node, _, name = change.partition("_")
        prompt[node]["inputs"][name] = value
    return prompt


@pytest.mark.parametrize("changes, named", [
    ({"label_label": "purple hexagon"}, ("purple hexagon", "0 to 15")),
    ({"label_label": "16"}, ("Class 16", "16 classes")),
    ({"cache_block_ratios": "mpl: 0.1, 0.2"}, ("mpl", "mlp")),
    ({"cache_score": "cross-attention"}, ("cross-attention", "choose")),
])
def test_errors_while_running_name_the_value_and_the_host_stays_up(client, changes, named):
    result = client.run(graph(**changes))
    assert result.error and all(words in str(result.error) for words in named)
    assert client.run(graph()).error is None


@pytest.mark.smoke
@pytest.mark.parametrize("changes, named", [
    ({"cache_fresh_ratio": 1.4}, "fresh_ratio"), ({"cache_cycle": 0}, "cycle"), ({"cache_spread_cell": 0}, "spread_cell"),
    ({"cache_preset": "fastest"}, "preset"), ({"cache_layer_slope": -7.0}, "layer_slope"),
    ({"load_model_name": "gone.safetensors"}, "gone")])
def test_a_hand_edited_workflow_is_rejected_before_it_runs(client, changes, named):
    from tools.server import PromptRejected
    with pytest.raises(PromptRejected, match=named):
        client.run(graph(**changes))
    assert client.run(graph()).error is None


def test_a_word_that_is_no_choice_is_refused_wherever_a_link_may_bring_it():
    """The host checks what a widget holds, not what comes through a link of any type."""
    import asyncio
    import inspect

    from comfy_api.latest import io

    from tools.pack import pack_module
    config, tried = pack_module("toca_core.config"), 0
    for node in asyncio.run(pack_module("nodes.extension").ToCaExtension().get_node_list()):
        needed = {name: None for name, parameter in inspect.signature(node.execute).parameters.items()
                  if parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD}
        for entry in node.define_schema().inputs:
            if not isinstance(entry, io.Combo.Input) or entry.id in ("model_name", "vae_name") or node.__name__ == "ToCaCache":
                continue                                            # files are looked for; the cache's settings have their own tests
            for odd in ("nothing like that", None, 3, ["euler"], {}):
                tried += 1
                refused(config.ConfigError, lambda node=node, given={**needed, entry.id: odd}: node.execute(**given),
                        f"{entry.id} is {odd!r}", "choose one of")
    assert tried >= 5 * 10
