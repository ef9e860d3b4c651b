"""Model files that are broken, made to do harm, or say what cannot be: one sentence with the file's name, before anything is built."""

import json
import pickle
import resource
import struct
import time
import zipfile
from io import BytesIO
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save, save_file

from tools.pack import pack_module
from tools.tiny_vae import tiny_open_sora_vae

KINDS = ("dit", "pixart", "open_sora", "vae")
STACK = {"dit": "blocks", "pixart": "blocks", "open_sora": "spatial_blocks", "vae": "temporal_vae.encoder.res_blocks"}
PATCHES = "x_embedder.proj.weight"
MATRIX = {"vae": "temporal_vae.quant_conv.conv.weight"}                 # a weight that every such file has
SAID = {"dit": {"num_heads": "4"}, "pixart": {"num_heads": "4"}, "open_sora": {}, "vae": {"num_groups": "8"}}
HEADS = {kind: {"num_heads": 4} for kind in ("dit", "pixart")}          # for files without metadata


@pytest.fixture(scope="module")
def good(checkpoints, tmp_path_factory):
    """kind -> the bytes of a file that loads."""
    tiny_open_sora_vae(vae := tmp_path_factory.mktemp("vae") / "vae.safetensors")
    return {kind: Path(checkpoints.get(kind, vae)).read_bytes() for kind in KINDS}


@pytest.fixture
def load(pack, tmp_path):
    """load(kind, name, content) writes a file and loads it."""
    loaders = {"dit": pack.dit_loader.load_dit, "pixart": pack.pixart.load_pixart, "open_sora": pack.stdit3_loader.load_stdit3,
               "vae": pack_module("nodes.models.open_sora_vae").load_open_sora_vae}

    def call(kind, name, content, **options):
        (tmp_path / name).write_bytes(content)
        return loaders[kind](str(tmp_path / name), **options)
    return call


@pytest.fixture
def unbuilt(pack, monkeypatch):
    """No model may be made but those without memory."""
    def bare(made, model, *args, device=None, **kwargs):
        assert torch.device(device or "cpu").type == "meta", "it was built"
        made(model, *args, device=device, **kwargs)
    for module, name in (("dit", "DiT"), ("pixart", "PixArtAnySize"), ("stdit3", "STDiT3")):
        kind = getattr(pack_module(f"nodes.models.{module}"), name)
        monkeypatch.setattr(kind, "__init__", lambda *args, made=kind.__init__, **kwargs: bare(made, *args, **kwargs))
    monkeypatch.setattr(pack_module("nodes.models.open_sora_vae"), "HostVAE", lambda *_: pytest.fail("it was built"))


@pytest.fixture
def refused(pack, load):
    """refused(kind, name, content, *words that the refusal holds, **options of the loader)."""
    def call(kind, name, content, *named, **options):
        with pytest.raises(pack.loading.CheckpointError) as refusal:
            load(kind, name, content, **options)
        text = str(refusal.value)
        assert len(text) < 1500 and "\n" not in text and text.endswith(".")
        for words in (name, *named):
            assert words in text
    return call


# ---- no file of tensors ----

class Payload:
    """A pickle that would create a file when opened carelessly."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def header(content, body=b""):
    content = content if isinstance(content, bytes) else json.dumps(content).encode()
    return struct.pack("<Q", len(content)) + content + body


def changed(data: bytes, change) -> bytes:
    """A .safetensors file with its header changed in place."""
    length = struct.unpack("<Q", data[:8])[0]
    said = json.loads(data[8:8 + length])
    change(said)
    return header(said, data[8 + length:])


def overlapping(said):
    first, second = [key for key in said if key != "__metadata__"][:2]
    said[first]["data_offsets"] = said[second]["data_offsets"]


def saved(value) -> bytes:
    torch.save(value, out := BytesIO())
    return out.getvalue()


def archive() -> bytes:
    with zipfile.ZipFile(out := BytesIO(), "w") as file:
        file.writestr("a.txt", "x")
    return out.getvalue()


def deep():
    value = {}
    value["state_dict"] = value["model"] = value
    return value


NO_TENSORS = {
    "empty.safetensors": b"", "empty.pt": b"",
    "picture.safetensors": b"\x89PNG\r\n" + bytes(500), "picture.pt": b"\x89PNG\r\n" + bytes(500),
    "page.safetensors": b"<!DOCTYPE html><html>404</html>" * 50, "page.pt": b"<!DOCTYPE html><html>404</html>" * 50,
    "pointer.safetensors": b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 123\n",
    "huge header.safetensors": struct.pack("<Q", 2 ** 62) + b"{}", "long header.safetensors": struct.pack("<Q", 90_000_000) + b"{}",
    "nested header.safetensors": header(b"[" * 100_000), "no tensors.safetensors": header({"__metadata__": {"a": "b"}}),
    "archive.pt": archive(), "list.pt": saved([torch.zeros(2)]), "lists.pt": saved([1, 2]), "tensor.pt": saved(torch.zeros(2)),
    "none.pt": saved(None), "nothing.pt": saved({}), "text.pt": saved("x"), "texts.pt": saved("state_dict"),
    "number keys.pt": saved({1: torch.zeros(2)}),
    "averaged list.pt": saved({"ema": [1]}), "itself.pt": saved(deep()), "mixed keys.pt": saved({1: torch.zeros(2), "a": torch.zeros(2)}),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NO_TENSORS)
def test_what_holds_no_tensors(refused, unbuilt, kind, name):
    refused(kind, name, NO_TENSORS[name])


@pytest.mark.parametrize("kind", KINDS)
def test_cut_and_overlapping_files(refused, unbuilt, good, kind):
    for share in (0.001, 0.5, 0.999):
        refused(kind, "cut.safetensors", good[kind][:int(share * len(good[kind]))], "download it again")
    refused(kind, "overlap.safetensors", changed(good[kind], overlapping))


@pytest.mark.parametrize("kind", KINDS)
def test_code_in_a_pickle_never_runs(refused, tmp_path, kind):
    trace = tmp_path / "ran"
    evil = Payload(trace)
    for name, content in (("bare.pt", pickle.dumps({PATCHES: evil})), ("saved.pt", saved({PATCHES: evil})),
                          ("whole.ckpt", pickle.dumps(evil)), ("beside.pth", saved({PATCHES: torch.zeros(2), "x": evil}))):
        refused(kind, name, content, "never loaded")
    assert not trace.exists()


# ---- what the metadata say ----

def saying(data: bytes, **words) -> bytes:
    return changed(data, lambda said: said.setdefault("__metadata__", {}).update(words))


WRONG_NUMBERS = ["four", "0", "-4", "1000000000", "", "4.0", "٤", "4" * 10_000, "1e1", "+4"]


@pytest.mark.parametrize("value", WRONG_NUMBERS, ids=lambda value: value[:12])
@pytest.mark.parametrize("kind, name", [("dit", "num_heads"), ("pixart", "num_heads"), ("open_sora", "num_heads"), ("vae", "num_groups")])
def test_numbers_in_the_metadata(refused, unbuilt, good, kind, name, value):
    refused(kind, "file.safetensors", saying(good[kind], **{name: value}), "file.safetensors", name)


def test_a_number_that_the_user_gives_goes_before_that_of_the_file(load, refused, good):
    model = load("dit", "file.safetensors", saying(good["dit"], num_heads="four"), num_heads=4)
    assert model.model.diffusion_model.blocks[0].attn.num_heads == 4
    for heads in (-4, 5, 10 ** 9):
        refused("dit", "file.safetensors", good["dit"], f"num_heads is {heads}", "set num_heads", num_heads=heads)


@pytest.mark.parametrize("names", ["[", "5", '{"a": 1}', "[1, 2, 3, 4, 5]", "[" * 100_000, "NaN", "[NaN]", "null", "9" * 10_000],
                         ids=lambda names: names[:8])
def test_class_names(refused, unbuilt, good, names):
    refused("dit", "file.safetensors", saying(good["dit"], class_names=names), "class_names")


def test_a_prediction_that_is_not_known(refused, unbuilt, good):
    for said in ("v", "v" * 100_000):
        refused("dit", "file.safetensors", saying(good["dit"], prediction=said), "prediction 'v", "known are eps")


# ---- keys ----

def weights_of(data: bytes, tmp_path) -> dict:
    (tmp_path / "good.safetensors").write_bytes(data)
    return {key: value.clone() for key, value in load_file(tmp_path / "good.safetensors").items()}


@pytest.mark.parametrize("number", ["999999", "999999999999999999", "4000", "x", "-1", "01", "٣", "", "1e3"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_stray_block(refused, unbuilt, good, tmp_path, kind, number):
    """No model is made as large as a single key says, nor looked for."""
    weights, key = weights_of(good[kind], tmp_path), f"{STACK[kind]}.{number}.x"
    content = save({**weights, key: torch.zeros(1)}, SAID[kind])
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    refused(kind, "stray.safetensors", content, STACK[kind], "not numbered")
    assert time.process_time() - start < 5 and resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000    # s, kB


@pytest.mark.parametrize("kind", KINDS)
def test_one_block_after_a_gap(refused, unbuilt, good, tmp_path, kind):
    weights, stack = weights_of(good[kind], tmp_path), STACK[kind]
    count = len({key.removeprefix(f"{stack}.").split(".")[0] for key in weights if key.startswith(f"{stack}.")})
    content = save({**weights, f"{stack}.{count + 1}.x": torch.zeros(1)}, SAID[kind])
    refused(kind, "gap.safetensors", content, f"no {stack}.{count}:", "not numbered")


@pytest.mark.parametrize("kind", ["dit", "pixart", "open_sora"])
def test_a_gap_and_blocks_without_end(refused, unbuilt, good, tmp_path, kind):
    weights, stack = weights_of(good[kind], tmp_path), STACK[kind]
    gap = {key: value for key, value in weights.items() if not key.startswith(f"{stack}.1.")}
    if kind != "open_sora":                                             # whose two blocks leave none above the gap
        refused(kind, "gap.safetensors", save(gap, SAID[kind]), f"no {stack}.1:")
    many = weights | {f"{stack}.{number}.x": torch.zeros(1) for number in range(2000)}
    refused(kind, "many.safetensors", save(many, SAID[kind]), f"2000 {stack}", "up to 512")
    full = weights | {f"{stack}.{number}.x": torch.zeros(1) for number in range(9)}
    refused(kind, "nine.safetensors", save(full, SAID[kind]), "keys missing", "9 left over", f"{stack}.0.x")


def test_a_stray_block_in_the_layout_of_diffusers(pack, refused, unbuilt, good, tmp_path):
    weights = weights_of(good["pixart"], tmp_path) | {pack.pixart.DIFFUSERS_KEY: torch.zeros(1)}
    content = save(weights | {"transformer_blocks.999999.x": torch.zeros(1)}, SAID["pixart"])
    refused("pixart", "stray.safetensors", content, "transformer_blocks.999999.x")


def test_keys_too_long_to_show(refused, unbuilt, good, tmp_path):
    weights = weights_of(good["dit"], tmp_path)
    refused("dit", "long.safetensors", save({**weights, "x\n" * 100_000: torch.zeros(1)}, SAID["dit"]), "1 left over")
    refused("dit", "other.safetensors", save({"x\n" * 100_000: torch.zeros(1)}, SAID["dit"]), "no DiT checkpoint")


# ---- shapes and types ----

def matrix(kind, weights) -> str:
    return MATRIX.get(kind) or next(key for key in weights if key.startswith(STACK[kind]) and weights[key].ndim == 2)


@pytest.mark.parametrize("kind", KINDS)
def test_every_weight_in_another_form(refused, unbuilt, good, tmp_path, kind):
    """Each with more, fewer and no axes and with nothing in it; of the blocks, those of the first."""
    weights = weights_of(good[kind], tmp_path)
    keys = [key for key in weights if not any(f".{block}." in key for block in range(1, 9))]
    for key in keys[::5] if kind == "vae" else keys:
        for other in (weights[key].flatten()[:-1], torch.tensor(1.0), weights[key][:0].clone(), weights[key][None].clone()):
            if other.shape != weights[key].shape and key.split(".")[-1] not in ("shift", "scale"):
                content = save({**weights, key: other}, SAID[kind])
                refused(kind, "file.safetensors", content)


@pytest.mark.parametrize("kind", ["dit", "pixart", "open_sora"])
@pytest.mark.parametrize("shape", [(48, 4, 3, 1), (48, 16), (0, 4, 2, 2), (48, 0, 2, 2), (48, 4, 0, 0), (48,), (), (48, 4, 1, 2, 2, 1)])
def test_patches(refused, unbuilt, good, tmp_path, kind, shape):
    content = save({**weights_of(good[kind], tmp_path), PATCHES: torch.zeros(shape)}, SAID[kind])
    refused(kind, "file.safetensors", content)


@pytest.mark.parametrize("positions", [torch.zeros(64), torch.zeros(1, 0, 48), torch.zeros(()), torch.ones(1, 1, 48), torch.ones(1, 60, 48),
                                       torch.full((1, 64, 48), float("nan")), -torch.ones(1, 64, 48), torch.ones(1, 64, 2)])
@pytest.mark.parametrize("kind", ["dit", "pixart"])
def test_positions(load, refused, good, tmp_path, kind, positions):
    content = save({**weights_of(good[kind], tmp_path), "pos_embed": positions}, SAID[kind])
    if kind == "dit" and positions.shape in ((1, 64, 48), (1, 1, 48)):  # a DiT takes whatever numbers it has learned
        assert load(kind, "file.safetensors", content)
    else:
        refused(kind, "file.safetensors", content, "pos_embed")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.bool, torch.int64, torch.complex64])
def test_types(refused, unbuilt, good, tmp_path, kind, dtype):
    weights = weights_of(good[kind], tmp_path)
    every = {key: value.to(dtype) for key, value in weights.items()}
    refused(kind, "every.safetensors", save(every, SAID[kind]), "stored as", "not quantised")
    one = weights | {(key := matrix(kind, weights)): weights[key].to(dtype)}
    refused(kind, "one.safetensors", save(one, SAID[kind]), key, f"stored as {str(dtype).removeprefix('torch.')}")


@pytest.mark.parametrize("kind", KINDS)
def test_four_bits_in_a_byte(refused, unbuilt, good, tmp_path, kind):
    weights = weights_of(good[kind], tmp_path)
    key = matrix(kind, weights)
    packed = {key: torch.zeros(weights[key].numel() // 2, 1, dtype=torch.uint8), f"{key}.absmax": torch.zeros(4),
              f"{key}.quant_state.bitsandbytes__nf4": torch.zeros(3, dtype=torch.uint8)}
    refused(kind, "packed.safetensors", save(weights | packed, SAID[kind]), key, "stored as uint8")


@pytest.mark.parametrize("kind", KINDS)
def test_tensors_that_speak_of_more_than_they_hold(refused, unbuilt, good, tmp_path, kind):
    """A .pt file of a few kB may say that a tensor has any shape: one number stands for all, or none does."""
    weights = weights_of(good[kind], tmp_path)
    key = matrix(kind, weights)
    for other in (torch.zeros(1).expand(weights[key].shape), torch.empty(weights[key].shape, device="meta"),
                  torch.zeros(weights[key].shape).to_sparse()):
        refused(kind, "small.pt", saved({"state_dict": weights | {key: other}}), key, **HEADS.get(kind, {}))


# ---- what is right stays right ----

@pytest.mark.parametrize("kind", ["dit", "pixart", "open_sora"])
@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2, torch.bfloat16, torch.float16, torch.float64])
def test_fewer_bits_load(load, good, tmp_path, kind, dtype):
    weights = {key: value.to(dtype) for key, value in weights_of(good[kind], tmp_path).items()}
    model = load(kind, "file.safetensors", save(weights, SAID[kind]))
    key = matrix(kind, weights)
    assert torch.equal(model.model.diffusion_model.state_dict()[key].float(), weights[key].float())


@pytest.mark.parametrize("wrap", [lambda weights: {"ema": weights, "epoch": 3}, lambda weights: {"state_dict": weights},
                                  lambda weights: {"state_dict": {"state_dict": weights}},
                                  lambda weights: {"state_dict": {"model": weights}},
                                  lambda weights: {f"model.diffusion_model.{key}": value for key, value in weights.items()},
                                  lambda weights: {**weights, "epoch": 3, "note": "text"}])
def test_wrapped_weights_load(load, good, tmp_path, wrap):
    weights = weights_of(good["open_sora"], tmp_path)
    model = load("open_sora", "file.pt", saved(wrap(weights)))
    assert torch.equal(model.model.diffusion_model.rope.freqs, weights["rope.freqs"])


def test_a_file_loads_beside_its_name_in_capitals(pack, tmp_path, weights):
    save_file(weights.dit(), tmp_path / "DIT.SAFETENSORS", {"num_heads": "4"})
    assert pack.dit_loader.load_dit(str(tmp_path / "DIT.SAFETENSORS"))
