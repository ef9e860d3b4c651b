"""Open-Sora 1.2's VAE and times: equal to the recordings, in chunks and tiles, through the host's own nodes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from tests.peak import Peak
from tools.pack import pack_module

from .conftest import RECORDINGS

ROOT = Path(__file__).resolve().parents[2]
vae = pack_module("nodes.models.open_sora_vae")
schedule = pack_module("nodes.models.open_sora_schedule")
scheduler = pack_module("nodes.toca_open_sora_scheduler")
CheckpointError = pack_module("nodes.models.loading").CheckpointError


@pytest.fixture(autouse=True)
def no_gradients():
    """As the host runs its nodes."""
    with torch.inference_mode():
        yield


# ---- files as released: names and shapes ----


def convolution(name, wide, narrow, kernel, bias=True):
    return {f"{name}.weight": (wide, narrow, *kernel), **({f"{name}.bias": (wide,)} if bias else {})}


def norm(name, width):
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def temporal_shapes(filters, blocks, multipliers=(1, 2, 2, 4), halves=(False, True, True)):
    widths, cube, point = [filters * multiplier for multiplier in multipliers], (3, 3, 3), (1, 1, 1)

    def residual(name, narrow, wide):
        shortcut = convolution(f"{name}.conv3.conv", wide, narrow, point, bias=False) if narrow != wide else {}
        return {**norm(f"{name}.norm1", narrow), **convolution(f"{name}.conv1.conv", wide, narrow, cube, bias=False),
                **norm(f"{name}.norm2", wide), **convolution(f"{name}.conv2.conv", wide, wide, cube, bias=False), **shortcut}

    shapes = {**convolution("encoder.conv_in.conv", filters, 4, cube, bias=False), **norm("encoder.norm1", widths[-1]),
              **convolution("encoder.conv2.conv", 8, widths[-1], point), **convolution("quant_conv.conv", 8, 8, point),
              **convolution("post_quant_conv.conv", 4, 4, point), **convolution("decoder.conv1.conv", widths[-1], 4, cube),
              **norm("decoder.norm1", filters), **convolution("decoder.conv_out.conv", 4, filters, cube)}
    for level, width in enumerate(widths):
        below, above = widths[max(0, level - 1)], widths[min(len(widths) - 1, level + 1)]
        for block in range(blocks):
            shapes |= residual(f"encoder.block_res_blocks.{level}.{block}", width if block else below, width)
            shapes |= residual(f"decoder.block_res_blocks.{level}.{block}", width if block else above, width)
        if level < len(halves) and halves[level]:
            shapes |= convolution(f"encoder.conv_blocks.{level}.conv", width, width, cube)
            shapes |= convolution(f"decoder.conv_blocks.{level}.conv", 2 * above, above, cube)
    for block in range(blocks):
        shapes |= residual(f"encoder.res_blocks.{block}", widths[-1], widths[-1])
        shapes |= residual(f"decoder.res_blocks.{block}", widths[-1], widths[-1])
    return {f"temporal_vae.{name}": shape for name, shape in shapes.items()}


def spatial_shapes(widths):
    """diffusers' AutoencoderKL with four levels."""
    square, point, top = (3, 3), (1, 1), widths[-1]

    def residual(name, narrow, wide):
        shortcut = convolution(f"{name}.conv_shortcut", wide, narrow, point) if narrow != wide else {}
        return {**norm(f"{name}.norm1", narrow), **convolution(f"{name}.conv1", wide, narrow, square),
                **norm(f"{name}.norm2", wide), **convolution(f"{name}.conv2", wide, wide, square), **shortcut}

    shapes = {**convolution("encoder.conv_in", widths[0], 3, square), **norm("encoder.conv_norm_out", top),
              **convolution("encoder.conv_out", 8, top, square), **convolution("quant_conv", 8, 8, point),
              **convolution("post_quant_conv", 4, 4, point), **convolution("decoder.conv_in", top, 4, square),
              **norm("decoder.conv_norm_out", widths[0]), **convolution("decoder.conv_out", 3, widths[0], square)}
    for side in ("encoder", "decoder"):
        attention = f"{side}.mid_block.attentions.0"
        shapes |= residual(f"{side}.mid_block.resnets.0", top, top) | residual(f"{side}.mid_block.resnets.1", top, top)
        shapes |= norm(f"{attention}.group_norm", top)
        for name in ("to_q", "to_k", "to_v", "to_out.0"):
            shapes |= convolution(f"{attention}.{name}", top, top, ())
        blocks, count, path = ("down_blocks", 2, [widths[0], *widths]) if side == "encoder" else ("up_blocks", 3, [top, *widths[::-1]])
        resize = "downsamplers" if side == "encoder" else "upsamplers"
        for level in range(4):
            for block in range(count):
                shapes |= residual(f"{side}.{blocks}.{level}.resnets.{block}", path[level + (block > 0)], path[level + 1])
            if level < 3:
                shapes |= convolution(f"{side}.{blocks}.{level}.{resize}.0.conv", path[level + 1], path[level + 1], square)
    return {f"spatial_vae.module.{name}": shape for name, shape in shapes.items()}


def released_shapes():
    return {**temporal_shapes(128, 4), **spatial_shapes((128, 256, 512, 512)), "scale": (1, 4, 1, 1, 1), "shift": (1, 4, 1, 1, 1)}


def meta_weights(shapes):
    return {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}


def random_weights(shapes):
    """Matrices that keep the scale, norms near 1, biases near 0."""
    generator = torch.Generator().manual_seed(0)

    def draw(key, shape):
        spread = torch.Size(shape)[1:].numel() ** -0.5 if len(shape) > 1 else 0.1
        return torch.randn(shape, generator=generator) * spread + (len(shape) == 1 and key.endswith("weight"))

    return {key: draw(key, shape) for key, shape in shapes.items()}


def tiny_weights():
    return random_weights({**temporal_shapes(8, 1), **spatial_shapes((32, 32, 32, 32))})


@pytest.fixture(scope="module")
def tiny_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("vae") / "tiny.safetensors"
    save_file(tiny_weights(), path, {"num_groups": "8"})
    return str(path)


@pytest.fixture(scope="module")
def tiny(tiny_path):
    """The host's VAE object, by the loader."""
    return vae.load_open_sora_vae(tiny_path, "fp32")


@pytest.fixture(scope="module")
def host():
    """The host's own nodes."""
    from comfy_extras import nodes_custom_sampler, nodes_model_advanced

    import nodes
    return SimpleNamespace(vae=nodes, custom=nodes_custom_sampler, sampling=nodes_model_advanced)


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def relative(got, expected):
    assert got.shape == expected.shape
    return ((got - expected).norm() / expected.norm()).item()


def refused(error, call, *named):
    with pytest.raises(error) as refusal:
        call()
    for words in named:
        assert words in str(refusal.value)


def test_the_released_file_fits_to_the_last_key():
    shapes = released_shapes()
    assert sum(key.startswith("spatial_vae.module.") for key in shapes) == 248      # as every such file of diffusers
    weights = vae.released_layout(meta_weights(shapes))
    params, sizes = vae.spatial_params(weights), vae.temporal_sizes("file", weights, {})
    assert sizes == vae.TemporalSizes(channels=4, hidden_channels=4, latent_channels=4, filters=128, res_blocks=4,
                                      multipliers=(1, 2, 2, 4), halves=(False, True, True), groups=32)
    assert params["ddconfig"]["ch_mult"] == [1, 2, 4, 4] and params["ddconfig"]["num_res_blocks"] == 2
    with torch.device("meta"):
        expected = vae.OpenSoraVAE(vae.AutoencoderKL(**params), sizes).state_dict()
    assert {key: value.shape for key, value in expected.items()} == {key: value.shape for key, value in weights.items()}


def test_the_names_listed_here_are_those_of_the_recorded_file(recording):
    with safe_open(recording("opensora_vae")[0], "pt") as file:
        recorded = {f"temporal_vae.{key}": tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118, no dict
    assert recorded == temporal_shapes(8, 2)


# ---- the recordings ----


def replay(weights, io):
    command = [sys.executable, str(ROOT / "tools/replay.py"), str(weights), str(io), "--json"]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ, timeout=600)


def test_recording_is_replayed_exactly():
    run = replay(*(RECORDINGS["small"] / f"opensora_vae.{part}.safetensors" for part in ("weights", "io")))
    assert run.returncode == 0, run.stderr
    result = json.loads(run.stdout.splitlines()[-1])
    assert result["family"] == "opensora_vae" and result["max_rel"] <= 1e-4


@pytest.mark.parametrize("altered", ["frames20.latent", "frames3.decoded_spatial_latent", "times.240x426.frames5.steps4"])
def test_a_replay_tells_one_wrong_number(tmp_path, altered):
    """A recording made here, of other lengths and sizes than the authors': right as it is, wrong with one number off."""
    weights = {key: value for key, value in tiny_weights().items() if key.startswith("temporal_vae.")}
    model = vae.OpenSoraVAE(torch.nn.Identity(), vae.temporal_sizes("file", weights, {"num_groups": "8"}))
    model.load_state_dict(vae.released_layout(weights))
    tensors = {"times.240x426.frames5.steps4": torch.tensor(schedule.sampling_times(4, 240, 426, 5))}
    for frames in (3, 20):
        tensors[f"frames{frames}.spatial_latent"] = frames_in = random(1, 4, frames, 3, 5)
        tensors[f"frames{frames}.latent"] = latent = model.compress(frames_in)
        tensors[f"frames{frames}.decoded_spatial_latent"] = torch.cat(list(model.expand(latent, frames)), dim=2)
    from tools import replay_vae
    save_file({key.removeprefix("temporal_vae."): value for key, value in weights.items()}, tmp_path / "weights.safetensors")

    def max_rel():
        save_file({key: value.contiguous() for key, value in tensors.items()}, tmp_path / "io.safetensors", {"num_groups": "8"})
        assert replay_vae.is_vae_recording(tmp_path / "io.safetensors")
        return replay_vae.replay(str(tmp_path / "weights.safetensors"), str(tmp_path / "io.safetensors"))["max_rel"]

    assert max_rel() <= 1e-5
    tensors[altered] = tensors[altered].clone()
    tensors[altered].view(-1)[0] += 1
    assert max_rel() > 1e-4


# ---- counts ----


def test_frames_and_latents_as_released():
    assert [schedule.latent_length(frames) for frames in (1, 4, 5, 16, 17, 18, 20, 21, 22, 34, 51, 102)] == \
        [1, 1, 2, 4, 5, 6, 6, 6, 7, 10, 15, 30]
    assert [schedule.frame_count(latents) for latents in (0, 1, 2, 4, 5, 6, 10, 15, 30)] == [0, 1, 5, 13, 17, 18, 34, 51, 102]


@pytest.mark.parametrize("latents", range(1, 33))
def test_the_frames_of_a_latent_are_the_fewest_that_encode_to_it(latents):
    frames = schedule.frame_count(latents)
    assert schedule.latent_length(frames) == latents and schedule.latent_length(frames - 1) == latents - 1


# ---- the host's nodes ----


def decoded(tiny, latent, **options):
    return tiny.first_stage_model.decode(latent, **options)


@pytest.mark.parametrize("batch, length, frames", [(1, 1, 1), (2, 2, 5), (1, 6, 18)])
def test_vae_decode(tiny, host, batch, length, frames):
    latent = random(batch, 4, length, 5, 7)
    [images] = host.vae.VAEDecode().decode(tiny, {"samples": latent})
    assert images.shape == (batch * frames, 40, 56, 3) and images.min() >= 0 and images.max() <= 1 and images.std() > 0.01
    expected = (decoded(tiny, latent).movedim(1, -1).flatten(0, 1) / 2 + 0.5).clamp(0, 1)
    torch.testing.assert_close(images, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("frames, latents", [(1, 1), (3, 1), (17, 5), (20, 6)])
def test_vae_encode(tiny, host, frames, latents):
    images = random(frames, 43, 57, 3).sigmoid()                    # neither side a multiple of 8: cut to 40 x 56
    latent = host.vae.VAEEncode().encode(tiny, images)[0]["samples"]
    assert latent.shape == (1, 4, latents, 5, 7)
    expected = tiny.first_stage_model.encode(images[None, :, 1:41, :56].movedim(-1, 1) * 2 - 1)
    torch.testing.assert_close(latent, expected, rtol=0, atol=1e-5)


def test_each_frame_goes_through_the_hosts_image_vae_scaled_as_released(tiny):
    """One frame is one latent: the whole path by hand."""
    model, picture = tiny.first_stage_model, random(1, 3, 16, 24).clamp(-1, 1)
    shift, scale = (torch.tensor(values).reshape(1, 4, 1, 1, 1) for values in ((-0.10, 0.34, 0.27, 0.98), (3.85, 2.32, 2.33, 3.06)))
    spatial = model.spatial_vae["module"].encode(picture) * 0.18215
    expected = (model.temporal_vae.encode(spatial.unsqueeze(2)) - shift) / scale
    torch.testing.assert_close(model.encode(picture.unsqueeze(2)), expected)
    back = model.spatial_vae["module"].decode(model.temporal_vae.decode(expected * scale + shift, 1)[:, :, 0] / 0.18215)
    torch.testing.assert_close(model.decode(expected)[:, :, 0], back)


def test_a_file_may_hold_its_own_shift_and_scale(tiny):
    own, frames = {"shift": torch.arange(4.0).reshape(1, 4, 1, 1, 1), "scale": torch.full((1, 4, 1, 1, 1), 2.0)}, random(1, 4, 3, 4, 4)
    other = vae.make_vae("file", tiny_weights() | own, {"num_groups": "8"}, "fp32").first_stage_model
    torch.testing.assert_close(other.compress(frames), (other.temporal_vae.encode(frames) - own["shift"]) / 2)


# ---- chunks, groups of frames, tiles ----


def test_a_clip_is_its_chunks_of_17_frames(tiny):
    """38 frames are 17, 17 and 4: what happens in one chunk is not seen in the others."""
    model, frames = tiny.first_stage_model, random(1, 4, 38, 4, 6)
    latent = model.compress(frames)
    assert latent.shape[2] == 11
    assert torch.equal(latent, torch.cat([model.compress(frames[:, :, start:start + 17]) for start in (0, 17, 34)], dim=2))
    changed = frames.clone()
    changed[:, :, 17] += 1
    moved = (model.compress(changed) - latent).abs().amax(dim=(0, 1, 3, 4)) > 0
    assert moved.tolist() == [False] * 5 + [True] * 5 + [False]
    chunks = list(model.expand(latent, 38))
    assert [chunk.shape[2] for chunk in chunks] == [17, 17, 4]
    assert torch.equal(chunks[2], next(model.expand(latent[:, :, 10:], 4)))


def test_the_frames_of_an_open_count_are_the_last_ones_of_their_latent(tiny):
    """18 to 21 frames are 6 latents: the encoder fills up in front, so the decoder cuts there."""
    latent = random(1, 4, 6, 4, 4)
    all_four, fewest = decoded(tiny, latent, num_frames=21), decoded(tiny, latent)
    assert all_four.shape[2] == 21 and fewest.shape[2] == 18
    torch.testing.assert_close(fewest, torch.cat([all_four[:, :, :17], all_four[:, :, -1:]], dim=2), rtol=0, atol=1e-5)


def test_how_many_frames_go_together_changes_nothing(tiny, monkeypatch):
    latent, clip = random(1, 4, 6, 4, 6), random(1, 3, 20, 32, 48)
    together = tiny.first_stage_model.decode(latent), tiny.first_stage_model.encode(clip)
    monkeypatch.setattr(vae, "CELLS_AT_ONCE", 3 * 24)           # three frames at a time, which divides neither 17 nor 1
    apart = tiny.first_stage_model.decode(latent), tiny.first_stage_model.encode(clip)
    for one, other in zip(together, apart, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-4)


def test_frames_at_once_and_tiles_by_size():
    """360p in twos, 480p one by one, 720p whole, 1080p in tiles."""
    assert [vae.frames_at_once(*size) for size in ((18, 32), (45, 80), (60, 106), (90, 160))] == [14, 2, 1, 1]
    assert [vae.tile_for(*size) is None for size in ((60, 106), (90, 160), (135, 240))] == [True, True, False]


def test_tiles_of_what_sees_no_neighbours_are_the_whole():
    """Repeating a cell's value over its 8 x 8 pixels, and the mean over them, are the same in tiles of any kind."""
    from torch.nn.functional import avg_pool2d, interpolate
    latents, tile = random(2, 3, 23, 31), vae.Tile(12, 16, 4)
    pictures = interpolate(latents, scale_factor=8)
    torch.testing.assert_close(vae.in_tiles(lambda x: interpolate(x, scale_factor=8), latents, tile, 3), pictures)
    torch.testing.assert_close(vae.in_tiles(lambda x: avg_pool2d(x, 8), pictures, tile, 3, encoding=True), latents)


def test_tiles_are_near_the_whole(tiny):
    """Group norms and attention see a tile where they saw the frame, so with the real VAE tiles are near the whole, not equal to it."""
    latent, clip, tile = random(1, 4, 2, 24, 28), random(1, 3, 5, 192, 224), vae.Tile(16, 16, 8)
    whole, tiled = decoded(tiny, latent), decoded(tiny, latent, tile=tile)
    assert 0 < relative(tiled[..., 8:-8, 8:-8], whole[..., 8:-8, 8:-8]) < 0.2
    torch.testing.assert_close(decoded(tiny, latent, tile=vae.Tile(32, 32, 8)), whole, rtol=0, atol=1e-4)
    assert 0 < relative(tiny.first_stage_model.encode(clip, tile=tile), tiny.first_stage_model.encode(clip)) < 0.2


def test_a_large_frame_is_tiled_by_itself(tiny, monkeypatch):
    latent = random(1, 4, 1, 70, 66)
    whole = decoded(tiny, latent)
    monkeypatch.setattr(vae, "CELLS_WHOLE", 70 * 66 - 1)
    assert torch.equal(decoded(tiny, latent), decoded(tiny, latent, tile=vae.Tile())) and not torch.equal(decoded(tiny, latent), whole)


@pytest.mark.parametrize("encodes", [False, True], ids=["decode", "encode"])
def test_the_memory_foreseen_for_a_chunk_is_what_it_takes(encodes):
    """As released, at 1080p, where the temporal half takes most of it; shapes without numbers."""
    rows, cols = 135, 240
    with torch.device("meta"):
        sizes = vae.temporal_sizes("released", meta_weights(released_shapes()), {})
        half = vae.TemporalVAE(sizes)
        chunk = torch.empty(1, 4, vae.CHUNK if encodes else vae.CHUNK_LATENTS, rows, cols)
    with Peak() as peak:
        _ = half.encode(chunk) if encodes else half.decode(chunk, vae.CHUNK)
    foreseen = vae.memory_used(rows, cols, sizes, torch.float32)
    assert 0.75 * foreseen < peak.most <= foreseen


def test_wide_frames_take_what_high_ones_take(tiny, monkeypatch):
    """As the host is told, of latents and of pixels."""
    monkeypatch.setattr(vae, "CELLS_AT_ONCE", 1)
    for foreseen, unit in ((tiny.memory_used_decode, 1), (tiny.memory_used_encode, vae.SPATIAL_SIZE)):
        wide, high, square = (foreseen((1, 4, 5, rows * unit, cols * unit), torch.float32) for rows, cols in ((30, 60), (60, 30), (60, 60)))
        assert wide == high and square == 2 * wide


def test_the_hosts_tiled_nodes(tiny, host):
    """Tiles of 8 x 8 latents; chunks stay at multiples of 17 frames, of 18, whatever the temporal settings."""
    latent, tile = random(1, 4, 6, 10, 12), vae.Tile(8, 8, 2)
    [images] = host.vae.VAEDecodeTiled().decode(tiny, {"samples": latent}, 64, 16, temporal_size=8, temporal_overlap=4)
    expected = (decoded(tiny, latent, tile=tile)[0].movedim(0, -1) / 2 + 0.5).clamp(0, 1)
    torch.testing.assert_close(images, expected, rtol=0, atol=1e-5)
    again = host.vae.VAEEncodeTiled().encode(tiny, images, 64, 16, temporal_size=8, temporal_overlap=4)[0]["samples"]
    torch.testing.assert_close(again, tiny.first_stage_model.encode(images[None].movedim(-1, 1) * 2 - 1, tile=tile), rtol=0, atol=1e-5)
    assert again.shape == latent.shape


def test_in_half_precision(tiny_path, tiny):
    half, latent = vae.load_open_sora_vae(tiny_path, "bf16"), random(1, 4, 5, 4, 4)
    assert half.vae_dtype == torch.bfloat16 and half.model_size() < 0.6 * tiny.model_size()
    images = half.decode(latent)
    assert images.dtype == torch.float32 and relative(images, tiny.decode(latent)) < 0.05


# ---- refusals ----


def test_latents_of_another_kind(tiny):
    refused(ValueError, lambda: tiny.decode(torch.zeros(1, 16, 5, 4, 4)), "(1, 16, 5, 4, 4)", "4, T, height, width", "connect")
    refused(ValueError, lambda: tiny.decode(torch.zeros(1, 4, 8, 8)), "(1, 4, 8, 8)", "connect")
    refused(ValueError, lambda: tiny.first_stage_model.decode(torch.zeros(1, 4, 6, 4, 4), num_frames=22), "22", "7 latents", "18 frames")


def without(key):
    return {name: value for name, value in tiny_weights().items() if name != key}


@pytest.mark.parametrize("weights, metadata, named", [
    ({"blocks.0.attn.qkv.weight": torch.zeros(1)}, {}, ["no Open-Sora 1.2 VAE", "no temporal_vae.encoder.conv_in", "blocks.0.attn.qkv"]),
    (temporal_shapes(8, 1), {}, ["no Open-Sora 1.2 VAE", "no spatial_vae.module.encoder.conv_in.weight"]),
    (without("temporal_vae.quant_conv.conv.weight"), {"num_groups": "8"}, ["no whole", "temporal_vae.quant_conv.conv.weight"]),
    (without("temporal_vae.decoder.norm1.bias"), {"num_groups": "8"}, ["1 keys missing (temporal_vae.decoder.norm1.bias)"]),
    ({**tiny_weights(), "discriminator.weight": torch.zeros(1)}, {"num_groups": "8"}, ["1 left over (discriminator.weight)"]),
    ({**tiny_weights(), "temporal_vae.decoder.norm1.bias": torch.zeros(9)}, {"num_groups": "8"}, ["decoder.norm1.bias has shape (9,)"]),
    (tiny_weights(), {}, ["8 filters", "32 groups", "num_groups"]),
    (random_weights({**temporal_shapes(8, 1, halves=(True, True, True)), **spatial_shapes((32, 32, 32, 32))}), {}, ["of 8 frames", "of 4"]),
], ids=["another model", "one half", "cut", "missing", "left over", "shape", "groups", "factor"])
def test_files_that_cannot_be_used(weights, metadata, named):
    refused(CheckpointError, lambda: vae.make_vae("some_file.safetensors", weights, metadata), "some_file.safetensors", *named)


# ---- times ----


def flow(host, model):
    return host.sampling.ModelSamplingSD3().patch(model, shift=1.0)[0]


def sigmas(model, shape, steps=30, denoise=1.0):
    [result] = scheduler.ToCaOpenSoraScheduler.execute(model, steps, {"samples": torch.zeros(shape)}, denoise).result
    return result


def test_sigmas_by_hand(tiny_dit, host):
    """512 x 512: r is sqrt(n). At the middle of the run t = 1/2, so t' = r / (1 + r)."""
    model = flow(host, tiny_dit.model)
    picture = sigmas(model, (1, 4, 1, 64, 64))
    torch.testing.assert_close(picture, torch.linspace(1, 0, 31))
    torch.testing.assert_close(sigmas(model, (1, 4, 64, 64)), picture)
    for length, n in ((4, 4), (5, 5), (6, 5), (15, 15)):
        assert sigmas(model, (1, 4, length, 64, 64))[15].item() == pytest.approx(n ** 0.5 / (1 + n ** 0.5), abs=1e-6)
    wide = sigmas(model, (1, 4, 1, 64, 256))                        # four times the pixels: r = 2
    assert wide[0] == 1 and wide[-1] == 0 and wide[15].item() == pytest.approx(2 / 3, abs=1e-6) and (wide.diff() < 0).all()


def test_sigmas_as_recorded(tiny_dit, host, recording):
    with safe_open(recording("opensora_vae")[1], "pt") as file:
        recorded = file.get_tensor("times.720x1280.frames102.steps30")
    torch.testing.assert_close(1000 * sigmas(flow(host, tiny_dit.model), (1, 4, 30, 90, 160))[:-1], recorded, rtol=1e-5, atol=0)


def test_denoise_takes_the_last_part(tiny_dit, host):
    model, shape = flow(host, tiny_dit.model), (1, 4, 5, 32, 32)
    assert torch.equal(sigmas(model, shape, 10, 0.5), sigmas(model, shape, 20)[10:])
    assert sigmas(model, shape, 10, 0.0).numel() == 0


def test_sampling_visits_the_times(tiny_dit, host):
    """The host's SamplerCustom, with a flow around the tiny DiT."""
    import comfy.samplers
    model, seen = flow(host, tiny_dit.model), []
    model.set_model_unet_function_wrapper(lambda apply, given: (seen.append(given["timestep"][0].item()),
                                                                apply(given["input"], given["timestep"], **given["c"]))[1])
    latent = {"samples": torch.zeros(1, 4, 16, 16)}
    [given] = scheduler.ToCaOpenSoraScheduler.execute(model, 6, latent).result
    result = host.custom.SamplerCustom.execute(model, True, 1, 1.0, tiny_dit.positive, tiny_dit.negative,
                                               comfy.samplers.sampler_object("euler"), given, latent).result[0]["samples"]
    assert seen == given[:-1].tolist() and result.isfinite().all() and result.std() > 0


def test_a_model_that_is_no_flow_and_a_latent_that_is_no_clip(tiny_dit, host):
    refused(ValueError, lambda: sigmas(tiny_dit.model, (1, 4, 5, 32, 32)), "no rectified flow", "another scheduler")
    refused(ValueError, lambda: sigmas(flow(host, tiny_dit.model), (1, 64, 1000)), "(1, 64, 1000)", "connect")


def test_the_nodes_are_registered(client):
    nodes = client.object_info()
    loader, times = nodes["ToCaLoadOpenSoraVAE"], nodes["ToCaOpenSoraScheduler"]
    assert loader["output"] == ["VAE"] and set(loader["input"]["required"]) | set(loader["input"].get("optional", {})) == \
        {"vae_name", "weight_dtype"}
    assert times["output"] == ["SIGMAS"] and {"model", "latent"} == set(times["input"]["required"])
    assert {"steps", "denoise"} == set(times["input"]["optional"])
