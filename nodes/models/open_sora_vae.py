"""Open-Sora 1.2's video VAE: the host's image VAE frame by frame, and a causal one over time on what comes out of it.

Facts: hpcaitech/Open-Sora v1.2, `opensora/models/vae/vae_temporal.py` (after MAGVIT-v2) and `vae.py`. Key names are the
released ones; the image half is stored in diffusers' names, which the host converts. Both halves take the posterior's mode.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange

import comfy.diffusers_convert
import comfy.model_management
import comfy.model_patcher
import comfy.ops
import comfy.sd
import comfy.utils
from comfy.ldm.models.autoencoder import AutoencoderKL

from .loading import (
    DTYPES,
    META,
    CheckpointError,
    check_keys,
    check_tensors,
    depth_of,
    read_checkpoint,
    require,
    sizes_understood,
    whole_number,
)
from .open_sora_schedule import CHUNK, CHUNK_LATENTS, FACTOR, frame_count, latent_length

ops = comfy.ops.disable_weight_init

NAME = "Open-Sora 1.2 VAE"
TEMPORAL, SPATIAL = "temporal_vae.", "spatial_vae.module."
KEYS = {TEMPORAL + "encoder.conv_in.conv.weight": 5, TEMPORAL + "decoder.conv_out.conv.weight": 5, SPATIAL + "encoder.conv_in.weight": 4}
SHIFT, SCALE = (-0.10, 0.34, 0.27, 0.98), (3.85, 2.32, 2.33, 3.06)  # of the latents, as released; a file may hold its own
RELEASED_GROUPS = 32                                                # of the temporal half's group norms
SPATIAL_FACTOR = 0.18215                                            # of what the image VAE hands to the temporal one
SPATIAL_SIZE = 8                                                    # pixels along the side of one latent cell

CELLS_AT_ONCE = 64 * 128                                            # latent cells of the frames that go through the image VAE together
CELLS_WHOLE = 128 * 128                                             # a larger frame, above 1024 x 1024 pixels, goes through it in tiles


@dataclasses.dataclass(frozen=True)
class Tile:
    """A tile of a frame for the image VAE, in latent cells; tiles share `overlap` cells, over which they are blended."""
    rows: int = 64
    cols: int = 64
    overlap: int = 16


# ---- the temporal half ----


@dataclasses.dataclass(frozen=True)
class TemporalSizes:
    """`halves[i]`: whether level i ends with half its frames (when encoding)."""
    channels: int
    hidden_channels: int
    latent_channels: int
    filters: int
    res_blocks: int
    multipliers: tuple[int, ...]
    halves: tuple[bool, ...]
    groups: int

    @property
    def widths(self) -> list[int]:
        return [self.filters * multiplier for multiplier in self.multipliers]


class CausalConv3d(torch.nn.Module):
    """No frame sees a later one: zeros stand before the first."""

    def __init__(self, in_channels, out_channels, kernel=3, time_stride=1, bias=True):
        super().__init__()
        self.before = kernel - time_stride
        around = kernel // 2
        self.conv = ops.Conv3d(in_channels, out_channels, kernel, stride=(time_stride, 1, 1), padding=(0, around, around), bias=bias)

    def forward(self, x):
        return self.conv(F.pad(x, (0, 0, 0, 0, self.before, 0)) if self.before else x)


class ResBlock(torch.nn.Module):
    def __init__(self, in_channels, channels, groups):
        super().__init__()
        self.norm1 = ops.GroupNorm(groups, in_channels)
        self.conv1 = CausalConv3d(in_channels, channels, bias=False)
        self.norm2 = ops.GroupNorm(groups, channels)
        self.conv2 = CausalConv3d(channels, channels, bias=False)
        self.conv3 = CausalConv3d(in_channels, channels, kernel=1, bias=False) if in_channels != channels else None

    def forward(self, x):
        h = self.conv1(F.silu(self.norm1(x), inplace=True))
        h = self.conv2(F.silu(self.norm2(h), inplace=True))
        return h + (x if self.conv3 is None else self.conv3(x))


def res_blocks(count: int, in_channels: int, channels: int, groups: int) -> torch.nn.ModuleList:
    return torch.nn.ModuleList(ResBlock(channels if block else in_channels, channels, groups) for block in range(count))


class Encoder(torch.nn.Module):
    def __init__(self, sizes: TemporalSizes):
        super().__init__()
        widths, top = sizes.widths, sizes.widths[-1]
        self.conv_in = CausalConv3d(sizes.channels, sizes.filters, bias=False)
        self.block_res_blocks = torch.nn.ModuleList(
            res_blocks(sizes.res_blocks, narrow, wide, sizes.groups)
            for narrow, wide in zip([sizes.filters, *widths], widths, strict=False))
        self.conv_blocks = torch.nn.ModuleList(
            CausalConv3d(width, width, time_stride=2) if half else torch.nn.Identity()
            for width, half in zip(widths, sizes.halves, strict=False))
        self.res_blocks = res_blocks(sizes.res_blocks, top, top, sizes.groups)
        self.norm1 = ops.GroupNorm(sizes.groups, top)
        self.conv2 = CausalConv3d(top, 2 * sizes.hidden_channels, kernel=1)

    def forward(self, x):
        x = self.conv_in(x)
        for level, blocks in enumerate(self.block_res_blocks):
            for block in blocks:
                x = block(x)
            if level < len(self.conv_blocks):
                x = self.conv_blocks[level](x)
        for block in self.res_blocks:
            x = block(x)
        return self.conv2(F.silu(self.norm1(x), inplace=True))


class Decoder(torch.nn.Module):
    def __init__(self, sizes: TemporalSizes):
        super().__init__()
        widths, top = sizes.widths, sizes.widths[-1]
        self.conv1 = CausalConv3d(sizes.hidden_channels, top)
        self.res_blocks = res_blocks(sizes.res_blocks, top, top, sizes.groups)
        self.block_res_blocks = torch.nn.ModuleList(                # numbered as in the encoder, so run through backwards
            res_blocks(sizes.res_blocks, wide, narrow, sizes.groups)
            for narrow, wide in zip(widths, [*widths[1:], top], strict=True))
        self.conv_blocks = torch.nn.ModuleList(
            CausalConv3d(width, 2 * width) if half else torch.nn.Identity()
            for width, half in zip(widths[1:], sizes.halves, strict=True))
        self.norm1 = ops.GroupNorm(sizes.groups, widths[0])
        self.conv_out = CausalConv3d(widths[0], sizes.channels)

    def forward(self, x):
        x = self.conv1(x)
        for block in self.res_blocks:
            x = block(x)
        for level, blocks in reversed(list(enumerate(self.block_res_blocks))):
            for block in blocks:
                x = block(x)
            if level and isinstance(self.conv_blocks[level - 1], CausalConv3d):
                x = rearrange(self.conv_blocks[level - 1](x), "b (c two) t h w -> b c (t two) h w", two=2)
        return self.conv_out(F.silu(self.norm1(x), inplace=True))


class TemporalVAE(torch.nn.Module):
    """One chunk at a time: up to 17 frames of image latents to up to 5 latents, and back."""

    def __init__(self, sizes: TemporalSizes):
        super().__init__()
        self.encoder = Encoder(sizes)
        self.quant_conv = CausalConv3d(2 * sizes.hidden_channels, 2 * sizes.latent_channels, kernel=1)
        self.post_quant_conv = CausalConv3d(sizes.latent_channels, sizes.hidden_channels, kernel=1)
        self.decoder = Decoder(sizes)

    def encode(self, x):
        """(B, 4, F, h, w) -> (B, 4, ceil(F / 4), h, w)."""
        x = F.pad(x, (0, 0, 0, 0, -x.shape[2] % FACTOR, 0))
        return self.quant_conv(self.encoder(x)).chunk(2, dim=1)[0]

    def decode(self, z, frames: int):
        """(B, 4, ceil(frames / 4), h, w) -> (B, 4, frames, h, w); what the encoder filled up is cut off."""
        return self.decoder(self.post_quant_conv(z))[:, :, -frames % FACTOR:]


# ---- both halves ----


class OpenSoraVAE(torch.nn.Module):
    """`spatial` maps pictures (N, 3, H, W) to (N, 4, H/8, W/8) by `encode` and back by `decode`, as the host's AutoencoderKL."""
    shift: torch.Tensor                                             # (1, C, 1, 1, 1), as is the scale
    scale: torch.Tensor
    comfy_has_chunked_io = True                                     # the host then lends the buffer that frames are written to

    def __init__(self, spatial, sizes: TemporalSizes):
        super().__init__()
        self.spatial_vae = torch.nn.ModuleDict({"module": spatial})
        self.temporal_vae = TemporalVAE(sizes)
        self.channels = sizes.channels                              # of the image latents
        self.register_buffer("shift", torch.zeros(1, sizes.latent_channels, 1, 1, 1))
        self.register_buffer("scale", torch.ones(1, sizes.latent_channels, 1, 1, 1))

    def compress(self, frames):
        """Image latents (B, 4, F, h, w), scaled, of any number of frames -> latents (B, 4, T, h, w)."""
        z = torch.cat([self.temporal_vae.encode(chunk) for chunk in frames.split(CHUNK, dim=2)], dim=2)
        return (z - self.shift.to(z)) / self.scale.to(z)

    def expand(self, z, num_frames: int) -> Iterator[torch.Tensor]:
        """Latents (B, 4, T, h, w) -> their image latents, chunk by chunk (B, 4, up to 17, h, w), `num_frames` in all."""
        z = z * self.scale.to(z) + self.shift.to(z)
        for start, chunk in zip(range(0, num_frames, CHUNK), z.split(CHUNK_LATENTS, dim=2), strict=True):
            yield self.temporal_vae.decode(chunk, min(CHUNK, num_frames - start))

    def encode(self, x, device=None, tile: Tile | None = None):
        """Frames (B, 3, F, H, W) in -1..1, sides multiples of 8 -> latents (B, 4, T, H/8, W/8).

        `device`: where to compute; frames go there a few at a time.
        """
        clips = []
        for clip in x.split(1):                                     # (1, 3, F, H, W)
            chunks = [self.compress(self.encode_frames(chunk, device, tile)) for chunk in clip.split(CHUNK, dim=2)]
            clips.append(torch.cat(chunks, dim=2))
        return torch.cat(clips)

    def encode_frames(self, chunk, device, tile: Tile | None):
        """(1, 3, F, H, W) -> image latents (1, 4, F, h, w), scaled."""
        rows, cols = (side // SPATIAL_SIZE for side in chunk.shape[-2:])
        groups = chunk[0].movedim(1, 0).split(frames_at_once(rows, cols))                   # (n, 3, H, W)
        encode, tile = self.spatial_vae["module"].encode, tile_for(rows, cols, tile)
        latents = [in_tiles(encode, group.to(device), tile, self.channels, encoding=True) for group in groups]
        return torch.cat(latents).movedim(0, 1).unsqueeze(0) * SPATIAL_FACTOR

    def decode_output_shape(self, shape, num_frames: int | None = None) -> tuple[int, ...]:
        """The frames' shape for latents of this one. Raises ValueError for latents of another kind, or that stand for other frames."""
        channels = self.shift.shape[1]
        if len(shape) != 5 or shape[1] != channels:
            raise ValueError(f"{NAME} decodes latents of shape (batch, {channels}, T, height, width), these have {tuple(shape)}; "
                             f"connect those of an Open-Sora model, or of VAE Encode with this VAE.")
        frames = frame_count(shape[2]) if num_frames is None else num_frames
        if latent_length(frames) != shape[2]:
            raise ValueError(f"num_frames is {frames}, which is {latent_length(frames)} latents, and there are {shape[2]}; "
                             f"leave it out for {frame_count(shape[2])} frames.")
        return shape[0], 3, frames, shape[3] * SPATIAL_SIZE, shape[4] * SPATIAL_SIZE

    def decode(self, z, num_frames: int | None = None, output_buffer=None, tile: Tile | None = None):
        """Latents (B, 4, T, h, w) -> frames (B, 3, F, 8h, 8w) in -1..1. `num_frames`: F where T leaves it open (`frame_count`).

        `output_buffer`: what to write to, on any device. Beyond it, memory holds one chunk's latents and a few frames.
        """
        shape = self.decode_output_shape(z.shape, num_frames)
        rows, cols = z.shape[-2:]
        decode, tile, at_once = self.spatial_vae["module"].decode, tile_for(rows, cols, tile), frames_at_once(rows, cols)
        pixels = torch.empty(shape, dtype=z.dtype, device=z.device) if output_buffer is None else output_buffer
        for clip, latents in enumerate(z.split(1)):
            done = 0
            for chunk in self.expand(latents, shape[2]):            # (1, 4, F, h, w)
                for group in chunk[0].movedim(1, 0).split(at_once):                         # (n, 4, h, w)
                    pixels[clip, :, done:done + len(group)] = in_tiles(decode, group / SPATIAL_FACTOR, tile, 3).movedim(0, 1)
                    done += len(group)
        return pixels


def frames_at_once(rows: int, cols: int) -> int:
    return max(1, CELLS_AT_ONCE // (rows * cols))


def tile_for(rows: int, cols: int, given: Tile | None = None) -> Tile | None:
    return given or (Tile() if rows * cols > CELLS_WHOLE else None)


def in_tiles(function, pictures, tile: Tile | None, channels: int, encoding: bool = False):
    """The image VAE's `encode` or `decode` on pictures (N, C, H, W), whole where `tile` is None, else by the host's tiling."""
    if tile is None:
        return function(pictures)
    unit, scale = (SPATIAL_SIZE, 1 / SPATIAL_SIZE) if encoding else (1, SPATIAL_SIZE)
    return comfy.utils.tiled_scale_multidim(
        pictures, function, tile=(tile.rows * unit, tile.cols * unit), overlap=tile.overlap * unit, upscale_amount=scale,
        out_channels=channels, output_device=pictures.device).to(pictures)


# ---- files ----


def released_layout(weights: dict) -> dict:
    """The image half's keys in the host's names; shift and scale, where the file has none, are the released ones."""
    spatial = {key.removeprefix(SPATIAL): value for key, value in weights.items() if key.startswith(SPATIAL)}
    if "decoder.up_blocks.0.resnets.0.norm1.weight" in spatial:
        spatial = comfy.diffusers_convert.convert_vae_state_dict(spatial)
    others = {key: value for key, value in weights.items() if not key.startswith(SPATIAL)}
    for name, released in (("shift", SHIFT), ("scale", SCALE)):
        others[name] = others.get(name, torch.tensor(released)).reshape(1, -1, 1, 1, 1)
    return others | {SPATIAL + key: value for key, value in spatial.items()}


def temporal_sizes(path: str, weights: dict, metadata: dict) -> TemporalSizes:
    """Every size from the weights; the group norms' groups leave no trace there: `num_groups` of the metadata, else as released."""
    encoder = TEMPORAL + "encoder."
    filters, channels = weights[encoder + "conv_in.conv.weight"].shape[:2]
    levels = depth_of(path, weights, encoder + "block_res_blocks")
    widths = [weights[f"{encoder}block_res_blocks.{level}.0.conv1.conv.weight"].shape[0] for level in range(levels)]
    halves = tuple(f"{encoder}conv_blocks.{level}.conv.weight" in weights for level in range(levels - 1))
    groups = whole_number(path, metadata, "num_groups") or RELEASED_GROUPS
    if 2 ** sum(halves) != FACTOR:
        raise CheckpointError(f"{path} makes one latent of {2 ** sum(halves)} frames; the {NAME} makes one of {FACTOR}.")
    if any(width % groups for width in widths):
        raise CheckpointError(f"{path} has {filters} filters, which its group norms' {groups} groups do not divide; "
                              f"its metadata has to say num_groups where that is not the released {RELEASED_GROUPS}.")
    return TemporalSizes(
        channels=channels, hidden_channels=weights[encoder + "conv2.conv.weight"].shape[0] // 2,
        latent_channels=weights[TEMPORAL + "quant_conv.conv.weight"].shape[0] // 2, filters=filters,
        res_blocks=depth_of(path, weights, encoder + "res_blocks"), multipliers=tuple(width // filters for width in widths),
        halves=halves, groups=groups)


def spatial_params(weights: dict, path: str = "The file") -> dict:
    """What the host's AutoencoderKL is built with."""
    encoder = SPATIAL + "encoder."
    filters = weights[encoder + "conv_in.weight"].shape[0]
    levels = range(depth_of(path, weights, encoder + "down"))
    config = {"double_z": True, "z_channels": weights[encoder + "conv_out.weight"].shape[0] // 2, "resolution": 256, "in_channels": 3,
              "out_ch": 3, "ch": filters, "num_res_blocks": depth_of(path, weights, encoder + "down.0.block"), "attn_resolutions": [],
              "ch_mult": [weights[f"{encoder}down.{level}.block.0.conv1.weight"].shape[0] // filters for level in levels], "dropout": 0.0}
    return {"ddconfig": config, "embed_dim": weights[SPATIAL + "post_quant_conv.weight"].shape[1]}


class HostVAE(comfy.sd.VAE):
    """The host's VAE object: its own for the image half, then told of the third dimension.

    Chunks have to begin at multiples of 17 frames, so the host's tiling over time is not used; its tiles are the image half's.
    """
    first_stage_model: Any
    patcher: Any

    def __init__(self, weights: dict, params: dict, sizes: TemporalSizes, dtype=None):
        super().__init__(sd={key.removeprefix(SPATIAL): value for key, value in weights.items() if key.startswith(SPATIAL)},
                         config={"params": params}, dtype=dtype)
        model = OpenSoraVAE(self.first_stage_model, sizes).to(self.vae_dtype).eval()
        comfy.model_management.archive_model_dtypes(model)
        self.patcher = comfy.model_patcher.CoreModelPatcher(model, load_device=self.device, offload_device=self.patcher.offload_device)
        model.load_state_dict(weights, assign=self.patcher.is_dynamic())
        self.first_stage_model, self.size = model, None
        self.model_size()
        self.latent_dim, self.latent_channels = 3, sizes.latent_channels
        self.upscale_ratio, self.downscale_ratio = (frame_count, SPATIAL_SIZE, SPATIAL_SIZE), (latent_length, SPATIAL_SIZE, SPATIAL_SIZE)
        self.memory_used_decode = lambda shape, dtype: memory_used(shape[-2], shape[-1], sizes, dtype)
        self.memory_used_encode = lambda shape, dtype: memory_used(shape[-2] // SPATIAL_SIZE, shape[-1] // SPATIAL_SIZE, sizes, dtype)

    def decode_tiled_3d(self, samples, tile_t=None, tile_x=32, tile_y=32, overlap=(1, 8, 8)):
        """Tiles in latents, as the host counts them here."""
        model = self.first_stage_model
        frames = torch.empty(model.decode_output_shape(samples.shape), device=self.output_device, dtype=self.vae_output_dtype())
        model.decode(samples.to(device=self.device, dtype=self.vae_dtype), output_buffer=frames, tile=Tile(tile_y, tile_x, overlap[-1]))
        return self.process_output(frames)

    def encode_tiled_3d(self, samples, tile_t=None, tile_x=512, tile_y=512, overlap=(1, 64, 64)):
        """Tiles in pixels, as the host counts them here."""
        tile = Tile(*(side // SPATIAL_SIZE for side in (tile_y, tile_x, overlap[-1])))
        latents = self.first_stage_model.encode(self.process_input(samples).to(self.vae_dtype), device=self.device, tile=tile)
        return latents.to(device=self.output_device, dtype=self.vae_output_dtype())


def memory_used(rows: int, cols: int, sizes: TemporalSizes, dtype) -> int:
    """Bytes of activations: the image VAE by the host's own figure for what it sees at once, or a chunk of the temporal one."""
    tile = tile_for(rows, cols)
    pixels = SPATIAL_SIZE ** 2 * (tile.rows * tile.cols if tile else max(rows * cols, CELLS_AT_ONCE))
    widest = 6 * CHUNK_LATENTS * FACTOR * 2 * sizes.filters * rows * cols          # six copies of 2 * filters channels at the full rate
    return max(2178 * pixels, widest) * comfy.model_management.dtype_size(dtype)


def make_vae(path: str, weights: dict, metadata: dict, weight_dtype: str = "default") -> HostVAE:
    """Weights as released, or with the image half in the host's names. Raises CheckpointError, naming the path, for any others."""
    require(path, weights, KEYS, NAME)
    check_tensors(path, weights)
    with sizes_understood(path):
        weights = released_layout(weights)
        params, sizes = spatial_params(weights, path), temporal_sizes(path, weights, metadata)
        with META:                                                  # shapes without memory, to compare before anything is loaded
            expected = OpenSoraVAE(AutoencoderKL(**params), sizes)
        check_keys(path, expected, weights)
    return HostVAE(weights, params, sizes, DTYPES[weight_dtype])


def load_open_sora_vae(path: str, weight_dtype: str = "default") -> HostVAE:
    """An Open-Sora 1.2 VAE file -> the host's VAE object. Raises CheckpointError for any other file."""
    return make_vae(path, *read_checkpoint(path), weight_dtype)
