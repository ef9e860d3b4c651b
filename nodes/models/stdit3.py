"""STDiT3: the video transformer of Open-Sora 1.2, which the host lacks.

Zheng et al., *Open-Sora: Democratizing Efficient Video Production for All* (hpcaitech/Open-Sora, v1.2). Spatial and
temporal blocks take turns; each runs self-attention inside a frame or along time, cross-attention to the caption and an
MLP. Parameter names are those of the released checkpoint; layers and attention are the host's.
"""

from dataclasses import asdict, dataclass
from math import prod

import torch
from einops import rearrange
from torch import nn

import comfy.ldm.common_dit
import comfy.ops
from comfy.ldm.flux.math import apply_rope
from comfy.ldm.modules.attention import optimized_attention
from comfy.ldm.modules.diffusionmodules.mmdit import Mlp, TimestepEmbedder

from .dit import ModulatedMlp, modulate, stretched_sincos, through_wrappers
from .open_sora_video import LATENT_PIXELS

TRAINED_SIDE = 512      # pixels: positions of a picture of 512 x 512 count whole tokens
LAST_TIMESTEP = 1000.0


@dataclass(frozen=True)
class STDiT3Shape:
    """Sizes of an STDiT3, all read from its state dict. `patch_size` is (frames, rows, columns) of latents per token."""
    in_channels: int
    out_channels: int
    patch_size: tuple[int, int, int]
    hidden_size: int
    depth: int
    num_heads: int
    mlp_hidden: int
    caption_channels: int
    caption_tokens: int

    def as_unet_config(self) -> dict:
        return asdict(self)


def gelu():
    return nn.GELU(approximate="tanh")


class PatchEmbed(nn.Module):
    def __init__(self, patch_size, in_channels, dim, dtype=None, device=None, operations=None):
        super().__init__()
        self.patch_size = patch_size
        self.proj = operations.Conv3d(in_channels, dim, kernel_size=patch_size, stride=patch_size, dtype=dtype, device=device)

    def forward(self, x):
        """(B, C, T, H, W) -> (B, N, D); cut patches at the far ends are filled with zeros."""
        x = comfy.ldm.common_dit.pad_to_patch_size(x, self.patch_size, padding_mode="constant")
        return self.proj(x).flatten(2).transpose(1, 2).contiguous() # else every later sum of tokens keeps the channels outermost


class CaptionEmbedder(nn.Module):
    """`y_embedding` is the learned null caption, the unconditional side of guidance."""

    def __init__(self, channels, tokens, dim, dtype=None, device=None, operations=None):
        super().__init__()
        self.y_embedding = nn.Parameter(torch.empty(tokens, channels, dtype=dtype, device=device), requires_grad=False)
        self.y_proj = Mlp(channels, dim, dim, act_layer=gelu, dtype=dtype, device=device, operations=operations)

    def forward(self, caption):
        return self.y_proj(caption)


class Rotary(nn.Module):
    """Rotary positions along time; the released file carries their frequencies."""

    def __init__(self, head_dim, device=None):
        super().__init__()
        self.freqs = nn.Parameter(torch.empty(head_dim // 2, dtype=torch.float32, device=device), requires_grad=False)

    def forward(self, frames, device):
        """-> rotations of neighbouring channel pairs, (1, 1, T, d / 2, 2, 2)."""
        angles = torch.arange(frames, device=device, dtype=torch.float32)[:, None] * self.freqs.to(device, torch.float32)
        cos, sin = angles.cos(), angles.sin()                       # (T, d / 2)
        return torch.stack([cos, -sin, sin, cos], dim=-1).unflatten(-1, (2, 2))[None, None]


class Attention(nn.Module):
    """As `dit.Attention`, inside each frame, or along time at each place."""

    def __init__(self, dim, num_heads, temporal, dtype=None, device=None, operations=None):
        super().__init__()
        kw = dict(dtype=dtype, device=device)
        self.num_heads, self.temporal = num_heads, temporal
        self.norm_in = operations.LayerNorm(dim, elementwise_affine=False, eps=1e-6, **kw)
        self.qkv = operations.Linear(dim, dim * 3, **kw)
        self.q_norm = operations.RMSNorm(dim // num_heads, eps=1e-6, **kw)
        self.k_norm = operations.RMSNorm(dim // num_heads, eps=1e-6, **kw)
        self.proj = operations.Linear(dim, dim, **kw)

    def forward(self, x, shift, scale, frames, rotations, transformer_options={}):
        """x (B, T * S, D), T frames -> the same shape; rotations (1, 1, T, d / 2, 2, 2)."""
        x = modulate(self.norm_in(x), shift, scale)
        apart, together = ("(b s) t d", "b (t s) d") if self.temporal else ("(b t) s d", "b (t s) d")
        x = rearrange(x, f"{together} -> {apart}", t=frames)
        q, k, v = rearrange(self.qkv(x), "b n (three h d) -> three b h n d", three=3, h=self.num_heads)
        q, k = self.q_norm(q), self.k_norm(k)
        if self.temporal:
            q, k = apply_rope(q, k, rotations)
        x = self.proj(optimized_attention(q, k, v, self.num_heads, skip_reshape=True, transformer_options=transformer_options))
        return rearrange(x, f"{apart} -> {together}", **({"s": x.shape[0] // len(shift)} if self.temporal else {"t": frames}))


class CrossAttention(nn.Module):
    def __init__(self, dim, num_heads, dtype=None, device=None, operations=None):
        super().__init__()
        kw = dict(dtype=dtype, device=device)
        self.num_heads = num_heads
        self.q_linear = operations.Linear(dim, dim, **kw)
        self.kv_linear = operations.Linear(dim, dim * 2, **kw)
        self.proj = operations.Linear(dim, dim, **kw)

    def forward(self, x, y, mask=None, transformer_options={}):
        """x (B, n, D): any of the tokens; y (B, L, D); mask (B, 1, L), added to the logits -> (B, n, D)."""
        k, v = self.kv_linear(y).chunk(2, dim=-1)
        return self.proj(optimized_attention(self.q_linear(x), k, v, self.num_heads, mask=mask, transformer_options=transformer_options))


class STDiT3Block(nn.Module):
    def __init__(self, dim, num_heads, mlp_hidden, temporal, dtype=None, device=None, operations=None):
        super().__init__()
        kw = dict(dtype=dtype, device=device)
        self.attn = Attention(dim, num_heads, temporal, operations=operations, **kw)
        self.cross_attn = CrossAttention(dim, num_heads, operations=operations, **kw)
        self.mlp = ModulatedMlp(dim, mlp_hidden, operations=operations, **kw)
        self.scale_shift_table = nn.Parameter(torch.empty(6, dim, **kw))

    def forward(self, x, y, c, frames, mask=None, rotations=None, transformer_options={}):
        """x (B, N, D), N = T * S for T frames, caption y (B, L, D), modulation c (B, F, 6, D): F is 1, or T where frames differ."""
        c = c + comfy.ops.cast_to_input(self.scale_shift_table, c)
        if c.shape[1] > 1:
            c = c.repeat_interleave(x.shape[1] // frames, dim=1)    # (B, N, 6, D)
        shift1, scale1, gate1, shift2, scale2, gate2 = c.unbind(dim=2)                                  # (B, 1 or N, D) each
        # In place: a video's stream is large. And line by line: a compiled block that breaks within one is compiled anew at every call.
        attended = self.attn(x, shift1, scale1, frames, rotations, transformer_options)
        x.addcmul_(gate1, attended)
        del attended
        read = self.cross_attn(x, y, mask, transformer_options)
        x.add_(read)
        del read
        computed = self.mlp(x, shift2, scale2)
        return x.addcmul_(gate2, computed)


class FinalLayer(nn.Module):
    def __init__(self, dim, out_features, dtype=None, device=None, operations=None):
        super().__init__()
        self.norm_final = operations.LayerNorm(dim, elementwise_affine=False, eps=1e-6, dtype=dtype, device=device)
        self.linear = operations.Linear(dim, out_features, dtype=dtype, device=device)
        self.scale_shift_table = nn.Parameter(torch.empty(2, dim, dtype=dtype, device=device))

    def forward(self, x, t):
        """x (B, N, D), t (B, F, D), F is 1 or the number of frames -> (B, N, out_features)."""
        if t.shape[1] > 1:
            t = t.repeat_interleave(x.shape[1] // t.shape[1], dim=1)
        shift, scale = (t[:, :, None] + comfy.ops.cast_to_input(self.scale_shift_table, t)).unbind(dim=2)      # (B, 1 or N, D) each
        return self.linear(modulate(self.norm_final(x), shift, scale))


class STDiT3(nn.Module):
    """Velocity-predicting transformer over the patches of a video latent.

    Args: the fields of `STDiT3Shape`; `operations` is the host's set of layers (`comfy.ops`).
    """

    def __init__(self, in_channels, out_channels, patch_size, hidden_size, depth, num_heads, mlp_hidden, caption_channels, caption_tokens,
                 image_model=None, dtype=None, device=None, operations=None):
        super().__init__()
        kw = dict(dtype=dtype, device=device, operations=operations)
        self.dtype = dtype
        self.in_channels, self.out_channels = in_channels, out_channels
        self.patch_size, self.hidden_size, self.caption_channels = patch_size, hidden_size, caption_channels
        self.rope = Rotary(hidden_size // num_heads, device)
        self.x_embedder = PatchEmbed(patch_size, in_channels, hidden_size, **kw)
        self.t_embedder = TimestepEmbedder(hidden_size, **kw)
        self.fps_embedder = TimestepEmbedder(hidden_size, **kw)
        self.t_block = nn.Sequential(nn.SiLU(), operations.Linear(hidden_size, 6 * hidden_size, dtype=dtype, device=device))
        self.y_embedder = CaptionEmbedder(caption_channels, caption_tokens, hidden_size, **kw)
        self.spatial_blocks, self.temporal_blocks = (
            nn.ModuleList([STDiT3Block(hidden_size, num_heads, mlp_hidden, temporal, **kw) for _ in range(depth)])
            for temporal in (False, True))
        self.final_layer = FinalLayer(hidden_size, prod(patch_size) * out_channels, **kw)

    def forward(self, x, timesteps, context, control=None, transformer_options={}, **kwargs):
        """The host's velocity, noise - x0: Open-Sora's with the other sign. Arguments as `velocity`."""
        return through_wrappers(self._forward, self, x, timesteps, context, control, transformer_options, **kwargs)

    def _forward(self, x, timesteps, context, control, transformer_options, **kwargs):
        return -self.velocity(x, timesteps, context, transformer_options=transformer_options, **kwargs)

    def velocity(self, x, timesteps, context, attention_mask=None, fps=24.0, height=None, width=None, known=None, denoise_until=None,
                 transformer_options={}):
        """Open-Sora's own prediction, x0 - noise, (B, C, T, H, W).

        Args:
            x: latent (B, C, T, H, W) of any size; a last, cut patch is filled with zeros and cut off again.
            timesteps: (B,) in 0..1000, 1000 is noise.
            context: caption embeddings (B, L, D_caption).
            attention_mask: (B, L), 0 at tokens to leave out.
            fps, height, width: numbers; frames per second and pixels of the video. None: eight pixels per latent.
            known: clean latent (B, C, T, H, W), and `denoise_until` (B, 1, T, 1, 1): a frame is known while the timestep is
                above its value (1000 * the released mask; report 2, "Masked DiT as Image/Video-to-Video Model"). A known
                frame enters clean and is modulated with timestep 0.
        """
        size = x.shape[2:]
        frames, rows, cols = (-(-side // patch) for side, patch in zip(size, self.patch_size, strict=True))
        times = timesteps[:, None]                                  # (B, F), F = 1 unless frames differ
        if denoise_until is not None:
            drawn = denoise_until >= times[..., None, None, None].clamp(max=LAST_TIMESTEP)                      # (B, 1, T, 1, 1)
            x = torch.where(drawn, x, known)
            times = (times * drawn.flatten(1))[:, ::self.patch_size[0]]
        tokens = self.x_embedder(x)                                 # (B, N, D), N = T * S, S = rows * cols
        pixels = (height or size[1] * LATENT_PIXELS) * (width or size[2] * LATENT_PIXELS)
        tokens = (tokens.unflatten(1, (frames, -1)) + self.position(rows, cols, pixels, tokens)).flatten(1, 2)

        t = self.t_embedder(times.flatten(), tokens.dtype).unflatten(0, times.shape)                            # (B, F, D)
        t = t + self.fps_embedder(torch.tensor([fps], device=t.device), tokens.dtype)
        c = self.t_block(t).unflatten(-1, (6, -1))                  # (B, F, 6, D)
        y = self.y_embedder(context)                                # (B, L, D)
        mask = None if attention_mask is None else added_mask(attention_mask, y.dtype)
        rotations = self.rope(frames, tokens.device)
        for blocks in zip(self.spatial_blocks, self.temporal_blocks, strict=True):
            for block in blocks:
                tokens = block(tokens, y, c, frames, mask, rotations, transformer_options)
        tokens = self.final_layer(tokens, t)                        # (B, N, patch * C_out)
        return self.unpatchify(tokens, frames, rows, cols)[:, :self.in_channels, :size[0], :size[1], :size[2]]

    def position(self, rows, cols, pixels, like):
        """Sine-cosine positions (1, S, D), stretched so that `pixels` of a square of 512 x 512 count whole tokens."""
        extent = round((rows * cols) ** 0.5) * TRAINED_SIDE / pixels ** 0.5
        return stretched_sincos(self.hidden_size, rows, cols, extent, like.device).to(like.dtype)

    def unpatchify(self, tokens, frames, rows, cols):
        """(B, N, patch * C_out) -> (B, C_out, T, H, W)."""
        depth, height, width = self.patch_size
        return rearrange(tokens, "b (t h w) (d p q c) -> b c (t d) (h p) (w q)", t=frames, h=rows, w=cols, d=depth, p=height, q=width)


def added_mask(keep, dtype):
    """(B, L), 0 where a token is left out -> (B, 1, L), what every attention of the host can add to its logits."""
    return torch.zeros_like(keep, dtype=dtype).masked_fill(keep == 0, torch.finfo(dtype).min)[:, None]
