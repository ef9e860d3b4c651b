"""Released files as they are named and shaped."""

import pytest
import torch

import comfy.latent_formats


def in_diffusers_layout(weights, depth, hidden):
    """The same weights under diffusers' names, by the host's own map read backwards."""
    import comfy.utils
    renamed = {}
    for name, target in comfy.utils.pixart_to_diffusers({"depth": depth, "hidden_size": hidden}).items():
        key, part = (target, None) if isinstance(target, str) else target[:2]
        if key in weights:
            renamed[name] = weights[key] if part is None else weights[key].narrow(*part)
    return renamed


def test_pixart_in_the_diffusers_layout(pack, weights):
    original = weights.pixart(hidden=1152, depth=1, tokens=120, caption=8)
    converted = pack.pixart.original_layout(in_diffusers_layout(original, 1, 1152))
    assert converted.keys() == original.keys()
    assert all(torch.equal(converted[key], original[key]) for key in original)
    config = pack.pixart.config_of("file", converted, {})
    assert config.unet_config["num_heads"] == 16 and isinstance(config.latent_format, comfy.latent_formats.SD15)


@pytest.mark.parametrize("tokens, latents", [(120, comfy.latent_formats.SD15), (300, comfy.latent_formats.SDXL)])
def test_pixart_alpha_and_sigma_are_told_apart(pack, weights, tokens, latents):
    config = pack.pixart.config_of("file", weights.pixart(tokens=tokens), {"num_heads": "4"})
    assert isinstance(config.latent_format, latents)


def test_a_pixart_that_does_not_say_which_it_is(pack, weights):
    anonymous = weights.pixart()
    del anonymous["y_embedder.y_embedding"]
    with pytest.raises(pack.loading.CheckpointError, match="set version"):
        pack.pixart.config_of("file", anonymous, {"num_heads": "4"})
    config = pack.pixart.config_of("file", anonymous, {"num_heads": "4"}, version="PixArt-Sigma")
    assert config.unet_config["model_max_length"] == 300


@pytest.mark.parametrize("grid, extent", [(16, 16), (32, 32), (64, 32), (16, 32)])
def test_the_extent_of_the_trained_positions_is_read_from_the_file(pack, grid, extent):
    """alpha 256: 16; 512: 32; 1024: 64 positions half a step apart; Sigma 256: two steps apart."""
    from comfy.ldm.pixart.pixartms import get_2d_sincos_pos_embed_torch
    stored = get_2d_sincos_pos_embed_torch(1152, grid, grid, base_size=extent)
    assert pack.pixart.extent_of(stored.unsqueeze(0)) == extent


def test_positions_that_are_not_there_are_those_of_the_version(pack, weights):
    for stored in ({}, {"pos_embed": torch.zeros(1, 256, 48)}):
        config = pack.pixart.config_of("file", {**weights.pixart(), **stored}, {"num_heads": "4"})
        assert config.unet_config["position_extent"] == 32


def test_pixart_at_256_px(pack, weights, tmp_path):
    """The size at which the host's own class divides by zero: 32 x 32 latents."""
    from safetensors.torch import save_file

    from comfy.ldm.pixart.pixartms import get_2d_sincos_pos_embed_torch
    state = {**weights.pixart(depth=1), "pos_embed": get_2d_sincos_pos_embed_torch(48, 16, 16, base_size=16).unsqueeze(0)}
    save_file(state, tmp_path / "256.safetensors", {"num_heads": "4"})
    model = pack.pixart.load_pixart(str(tmp_path / "256.safetensors")).model.diffusion_model
    with torch.inference_mode():
        output = model(torch.randn(1, 4, 32, 32), torch.tensor([500.0]), context=torch.randn(1, 12, 32))
    assert output.shape == (1, 4, 32, 32) and torch.isfinite(output).all()


def test_pixart_with_micro_conditioning_samples(pack, weights, cached, tiny_dit, tmp_path):
    """As alpha's 1024-MS: the picture's size and aspect ratio are embedded too, and reach the model with ToCa and without."""
    from safetensors.torch import save_file
    embedders = {f"{name}.mlp.{layer}.{kind}": torch.full((16, cols) if kind == "weight" else (16,), 0.1)
                 for name in ("csize_embedder", "ar_embedder") for layer, cols in (("0", 256), ("2", 16)) for kind in ("weight", "bias")}
    save_file({**weights.pixart(), **embedders}, tmp_path / "ms.safetensors", {"num_heads": "4"})
    model = pack.pixart.load_pixart(str(tmp_path / "ms.safetensors"))
    captions = torch.randn(2, 1, 12, 32, generator=torch.Generator().manual_seed(1))

    def subject(**size):
        return type(tiny_dit)("pixart", model, [[captions[0], size]], [[captions[1], size]])
    plain, wide = subject().sample(), subject(width=1024, height=512).sample()
    assert torch.isfinite(plain).all() and not torch.equal(plain, wide)
    assert torch.equal(plain, subject(width=128, height=128).sample())          # the latent's own size in pixels
    assert torch.equal(plain, subject().sample(cached(subject(), fresh_ratio=1.0)[0]))
    fast, reports = cached(subject())
    assert torch.isfinite(subject().sample(fast)).all() and reports[0].calls("partial") == 6


@pytest.mark.parametrize("hidden, heads, depth, patch", [(1152, 16, 28, 2), (1024, 16, 24, 4), (768, 12, 12, 8), (384, 6, 12, 2)])
@pytest.mark.parametrize("grid", [16, 32])
def test_released_dits_are_known_by_their_shapes(pack, hidden, heads, depth, patch, grid):
    """DiT-XL/2, L/4, B/8 and S/2 at 256 and 512 px; meta tensors have shapes and no memory."""
    state = {key: torch.empty(value, device="meta") for key, value in dit_shapes(hidden, depth, patch, grid).items()}
    shape = pack.dit_loader.shape_of("file", state, {})
    assert shape == type(shape)(in_channels=4, out_channels=8, patch_size=patch, hidden_size=hidden, depth=depth, num_heads=heads,
                                mlp_hidden=4 * hidden, classes=1000, grid=grid)


def dit_shapes(hidden, depth, patch, grid):
    shapes = {"x_embedder.proj.weight": (hidden, 4, patch, patch), "y_embedder.embedding_table.weight": (1001, hidden),
              "pos_embed": (1, grid * grid, hidden), "final_layer.linear.weight": (patch * patch * 8, hidden)}
    for block in range(depth):
        shapes |= {f"blocks.{block}.attn.qkv.weight": (3 * hidden, hidden), f"blocks.{block}.mlp.fc1.weight": (4 * hidden, hidden),
                   f"blocks.{block}.adaLN_modulation.1.weight": (6 * hidden, hidden)}
    return shapes


def test_imagenet_names(pack):
    names = pack.dit_loader.class_names_of({}, 1000)
    assert len(names) == 1000 and names[207] == "golden retriever"
    assert pack.dit_loader.class_names_of({}, 12) == []


def test_class_labels_by_number_and_by_name():
    from tools.pack import pack_module
    class_index = pack_module("nodes.toca_dit_class").class_index
    names = ["red circle", "blue star"]
    assert [class_index(word, names, 2) for word in ("0", "1", "Red Circle", "blue star")] == [0, 1, 0, 1]
    with pytest.raises(ValueError, match="2 classes, 0 to 1"):
        class_index("-1", names, 2)
    with pytest.raises(ValueError, match="blue star.*number from 0 to 1"):
        class_index("blue starr", names, 2)


@pytest.mark.parametrize("word", ["9" * 5000, "-" + "9" * 5000, "--1", "²", "①", "x" * 5000, "\ud800", "1\n2", "1.0"])
def test_a_label_that_is_no_class_is_told_in_one_short_line(word):
    """Whatever Python takes for digits and cannot read, and whatever is too long to be shown; names in the file may be long too."""
    from tools.pack import pack_module
    class_index = pack_module("nodes.toca_dit_class").class_index
    with pytest.raises(ValueError, match=r"Class .* (?:number from 0 to 1|0 to 1)\.$") as refusal:
        class_index(word, ["red circle", "y" * 5000], 2)
    words = str(refusal.value)
    assert len(words) < 300 and words.isprintable()


def test_a_class_number_in_other_digits():
    from tools.pack import pack_module
    class_index = pack_module("nodes.toca_dit_class").class_index
    assert [class_index(word, [], 20) for word in ("１７", "٣", "007", "-0")] == [17, 3, 7, 0]


def test_the_stored_positions_of_a_dit_equal_the_computed_ones():
    from tools.pack import pack_module
    stretched = pack_module("nodes.models.dit").stretched_sincos
    from comfy.ldm.modules.diffusionmodules.mmdit import get_2d_sincos_pos_embed
    stored = torch.from_numpy(get_2d_sincos_pos_embed(64, 16)).float()
    torch.testing.assert_close(stretched(64, 16, 16, 16)[0], stored, rtol=1e-5, atol=1e-5)
