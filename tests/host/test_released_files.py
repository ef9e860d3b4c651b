"""The released files under their true names and shapes, down to the last key; meta tensors have shapes and no memory."""

import json
import logging
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import pytest
import torch

import comfy.latent_formats
import comfy.model_detection

released = SimpleNamespace(**run_path(str(Path(__file__).with_name("released.py"))))
META = torch.device("meta")


def without_memory(shapes, dtype=torch.float32):
    return {name: torch.empty(shape, dtype=dtype, device=META) for name, shape in shapes.items()}


def as_file(shapes, path, wrapping=None):
    """A file of true names and shapes in which every weight is one stored number."""
    state = {name: torch.zeros(()).expand(shape) for name, shape in shapes.items()}
    torch.save({wrapping: state} if wrapping else state, path)
    assert path.stat().st_size < 1e6
    return str(path)


def built(pack, config, weights):
    """The model the loaders build, refused unless every weight has its place and every place its weight."""
    config.set_inference_dtype(torch.float16, None)
    return pack.loading.build("file", weights, config, META).diffusion_model


# ---- DiT ----

@pytest.mark.parametrize("pixels, grid", [(256, 16), (512, 32)])
def test_dit_xl_2(pack, tmp_path, pixels, grid):
    path = as_file(released.dit(pixels), tmp_path / f"DiT-XL-2-{pixels}x{pixels}.pt")
    weights, metadata = pack.loading.read_checkpoint(path)
    assert len(weights) == 12 + 28 * 10
    config = pack.dit_loader.config_of(path, weights, metadata)
    model = built(pack, config, weights)
    assert len(model.blocks) == 28 and model.classes == 1000 and model.grid == grid and model.out_channels == 8
    assert model.blocks[0].attn.num_heads == 16 and len(config.class_names) == 1000
    assert isinstance(config.latent_format, comfy.latent_formats.SD15)
    assert set(pack.systems.bound_of(model)[0].depths.values()) == {28}


# ---- PixArt ----

def positions(pixels, extent):
    from comfy.ldm.pixart.pixartms import get_2d_sincos_pos_embed_torch
    return get_2d_sincos_pos_embed_torch(1152, pixels // 16, pixels // 16, base_size=extent).unsqueeze(0)


PIXART = [      # file, pixels, its null caption, micro-conditioning, how far its positions run
    ("PixArt-XL-2-256x256.pth", 256, 120, False, 16), ("PixArt-XL-2-512x512.pth", 512, 120, False, 32),
    ("PixArt-XL-2-1024-MS.pth", 1024, 120, True, 32), ("PixArt-Sigma-XL-2-256x256.pth", 256, 300, False, 32),
    ("PixArt-Sigma-XL-2-512-MS.pth", 512, 300, False, 32), ("PixArt-Sigma-XL-2-1024-MS.pth", 1024, 300, False, 32)]


def check_pixart(pack, config, weights, captions, micro, extent):
    model = built(pack, config, weights)
    assert len(model.blocks) == 28 and model.num_heads == 16 and model.out_channels == 8
    assert model.y_embedder.y_embedding.shape == (captions, 4096)
    assert model.micro_conditioning == micro and model.position_extent == extent
    assert isinstance(config.latent_format, comfy.latent_formats.SDXL if captions == 300 else comfy.latent_formats.SD15)
    assert set(pack.systems.bound_of(model)[0].depths.values()) == {28}


@pytest.mark.parametrize("file, pixels, captions, micro, extent", PIXART)
def test_pixart_in_the_original_layout(pack, tmp_path, file, pixels, captions, micro, extent):
    path = as_file(released.pixart(pixels, captions, micro), tmp_path / file, "state_dict")
    weights, metadata = pack.loading.read_checkpoint(path)
    assert weights["pos_embed"].shape == (1, (pixels // 16) ** 2, 1152)
    config, fitted = pack.pixart.fitted(path, {**weights, "pos_embed": positions(pixels, extent)}, metadata)
    check_pixart(pack, config, fitted, captions, micro, extent)


@pytest.mark.parametrize("version, null_caption, micro, captions, extent", [
    ("auto", 120, False, 120, 32), ("auto", 120, True, 120, 32), ("auto", 0, True, 120, 32),        # alpha 512, 1024-MS, and that without
    ("PixArt-alpha 256", 120, False, 120, 16), ("PixArt-alpha 256", 0, False, 120, 16), ("PixArt-Sigma", 0, False, 300, 32)])
def test_pixart_in_the_diffusers_layout(pack, version, null_caption, micro, captions, extent):
    weights = without_memory(released.pixart_diffusers(null_caption, micro))
    config, fitted = pack.pixart.fitted("file", weights, {}, version=version)
    assert fitted.keys() == released.pixart(512, captions, micro, positions=False).keys()
    check_pixart(pack, config, fitted, captions, micro, extent)


def test_a_diffusers_file_without_a_null_caption_needs_its_version(pack):
    with pytest.raises(pack.loading.CheckpointError, match="set version"):
        pack.pixart.fitted("file", without_memory(released.pixart_diffusers()), {})


def test_a_relative_of_pixart_in_the_diffusers_layout_is_refused_by_its_keys(pack):
    weights = without_memory({**released.pixart_diffusers(120), "transformer_blocks.0.attn1.q_norm.weight": (1152,)})
    config, fitted = pack.pixart.fitted("file", weights, {})
    with pytest.raises(pack.loading.CheckpointError, match="1 left over .transformer_blocks.0.attn1.q_norm.weight"):
        built(pack, config, fitted)
    halved = without_memory({name: shape for name, shape in released.pixart_diffusers(120).items() if name != "pos_embed.proj.bias"})
    with pytest.raises(pack.loading.CheckpointError, match="no PixArt checkpoint"):
        pack.pixart.fitted("file", halved, {})


def test_the_hosts_own_detection_gives_a_pixart_we_can_cache(pack):
    """What the stock loader builds, for the file on which it and ours agree."""
    weights = without_memory(released.pixart(1024, 120, micro=True, positions=False))
    model = built(pack, comfy.model_detection.model_config_from_unet(weights, ""), weights)
    system = pack.systems.system_of(model)
    assert system.name == "pixart" and set(system.layout.bind(model).depths.values()) == {28}


# ---- FLUX.1, through the host's own loader ----

LAYERS = ("img_mod.lin", "img_attn.qkv", "img_attn.proj", "img_mlp.0", "img_mlp.2", "txt_mod.lin", "txt_attn.qkv", "txt_attn.proj",
          "txt_mlp.0", "txt_mlp.2", "linear1", "linear2", "modulation.lin")


def quantised_layers(weights):
    return [name.removesuffix(".weight") for name in weights if name.endswith(tuple(f"{layer}.weight" for layer in LAYERS))]


def in_fp8(weights, layers):
    return {name: weight.to(torch.float8_e4m3fn) if name.removesuffix(".weight") in layers else weight for name, weight in weights.items()}


def flux_file(form, guidance):
    """A state dict as one of the forms in which FLUX.1 is handed out."""
    if form == "diffusers":
        return without_memory(released.flux_diffusers(guidance), torch.bfloat16)
    weights = without_memory(released.flux(guidance), torch.float8_e4m3fn if form == "fp8" else torch.bfloat16)
    if form == "checkpoint":
        return {f"model.diffusion_model.{name}": weight for name, weight in weights.items()}
    layers = quantised_layers(weights)
    assert len(layers) == 19 * 10 + 38 * 3
    if form == "scaled_fp8":
        scales = {f"{layer}.{kind}": torch.ones(()) * 0.5 for layer in layers for kind in ("scale_weight", "scale_input")}
        return {**in_fp8(weights, layers), **scales, "scaled_fp8": torch.empty(2, dtype=torch.float8_e4m3fn)}
    if form == "comfy_quant":
        note = torch.tensor(list(json.dumps({"format": "float8_e4m3fn"}).encode()), dtype=torch.uint8)
        scales = {f"{layer}.{kind}": torch.ones(()) for layer in layers for kind in ("weight_scale", "input_scale")}
        return {**in_fp8(weights, layers), **scales, **{f"{layer}.comfy_quant": note for layer in layers}}
    return weights


def loaded_by_the_host(state, metadata=None):
    """-> (the diffusion model, what the host said of keys missing or left over)."""
    import comfy.sd
    import comfy.utils
    state, metadata = comfy.utils.convert_old_quants(state, "", metadata)       # its first step; the rest makes no tensor it reads
    said = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    logging.getLogger().addHandler(handler)
    try:
        with META:
            patcher = comfy.sd.load_diffusion_model_state_dict(state, metadata=metadata)
    finally:
        logging.getLogger().removeHandler(handler)
    complaints = ("unet missing", "unet unexpected", "left over", "Missing")
    return patcher.model.diffusion_model, [line for line in said if line.startswith(complaints)]


@pytest.mark.parametrize("guidance", [True, False], ids=["dev", "schnell"])
@pytest.mark.parametrize("form", ["original", "checkpoint", "diffusers", "fp8", "scaled_fp8", "comfy_quant"])
def test_flux_is_what_the_host_builds(form, guidance):
    import comfy.ldm.flux.model
    model, messages = loaded_by_the_host(flux_file(form, guidance))
    assert type(model) is comfy.ldm.flux.model.Flux
    assert len(model.double_blocks) == 19 and len(model.single_blocks) == 38
    assert model.params.guidance_embed == guidance and bool(list(model.guidance_in.parameters())) == guidance
    assert model.hidden_size == 3072 and model.num_heads == 24 and model.in_channels == 64
    assert messages == []
