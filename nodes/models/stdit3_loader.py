"""Open-Sora 1.2 checkpoints to models: the host-side config and model around `stdit3.STDiT3`."""

from math import prod

import torch

import comfy.conds
import comfy.latent_formats
import comfy.model_base
import comfy.supported_models_base

from ...toca_core.checks import shown
from .loading import CheckpointError, depth_of, make_patcher, read_checkpoint, require
from .stdit3 import STDiT3, STDiT3Shape

# Keys in a conditioning's options.
FPS, PIXELS = "toca_fps", "toca_pixels"         # frames per second; (height, width) in pixels
NULL_CAPTION = "toca_null_caption"              # true: the model's learned null caption, as long as the embedding it stands for
IMAGE_FPS = 120.0                               # what a single frame was trained as
DEFAULT_FPS = 24.0
CHANNELS = 4
KEYS = {"x_embedder.proj.weight": None, "rope.freqs": 1, "fps_embedder.mlp.0.weight": 2, "y_embedder.y_embedding": 2,
        "y_embedder.y_proj.fc1.weight": 2, "spatial_blocks.0.attn.q_norm.weight": 1, "spatial_blocks.0.mlp.fc1.weight": 2,
        "temporal_blocks.0.attn.qkv.weight": 2, "final_layer.linear.weight": 2}


class OpenSoraLatents(comfy.latent_formats.LatentFormat):
    """Latents as Open-Sora's VAE gives them: shift and scale are its own. It turns every 17 frames into 5, four at a time."""
    latent_channels = CHANNELS
    latent_dimensions = 3
    temporal_downscale_ratio = 4


class STDiT3Config(comfy.supported_models_base.BASE):
    """Rectified flow over timesteps 0..1000; the release bends its schedule by the video's size, which is a scheduler's work here."""
    unet_config = {"image_model": "toca_stdit3"}
    unet_extra_config: dict = {}
    sampling_settings = {"shift": 1.0, "multiplier": 1000}
    supported_inference_dtypes = [torch.bfloat16, torch.float32]
    memory_usage_factor = 0.5                                       # as the host's PixArt, which has blocks of the same size

    def __init__(self, shape: STDiT3Shape):
        super().__init__({**self.unet_config, **shape.as_unet_config()})
        self.latent_format = OpenSoraLatents()

    def get_model(self, state_dict, prefix="", device=None):
        return STDiT3Model(self, device=device)


class STDiT3Model(comfy.model_base.BaseModel):
    """A noise mask says which frames are known, as in the release: they enter the model clean and are modulated with timestep 0.

    The release compares a frame's mask, 1 for frames to draw and 0 for known ones, with the time of every step; in between,
    a frame is known until the time has come down to its mask. The mask and the clean latent travel as conditioning, so that
    `STDiT3.velocity` does the same at every call, and the host's sampler keeps the known frames on their way from the noise
    to what they are. For masks in between, connect the host's Differential Diffusion, which follows the same rule. Within a
    frame a mask inpaints as for any model of the host; such a frame counts as one to draw.
    """

    def __init__(self, model_config, device=None):
        super().__init__(model_config, comfy.model_base.ModelType.FLOW, device=device, unet_model=STDiT3)

    def extra_conds(self, **kwargs):
        noise = kwargs["noise"]                                     # (B, C, T, H, W)
        height, width = kwargs.get(PIXELS) or (None, None)
        caption = self.caption(kwargs["cross_attn"], kwargs.get(NULL_CAPTION, False))
        out = {"c_crossattn": comfy.conds.CONDRegular(caption),
               "fps": comfy.conds.CONDConstant(IMAGE_FPS if noise.shape[2] == 1 else float(kwargs.get(FPS, DEFAULT_FPS))),
               "height": comfy.conds.CONDConstant(height), "width": comfy.conds.CONDConstant(width)}
        if kwargs.get("attention_mask") is not None:
            longer = caption.shape[1] - kwargs["attention_mask"].shape[1]                   # by ConditioningConcat
            out["attention_mask"] = comfy.conds.CONDRegular(torch.nn.functional.pad(kwargs["attention_mask"], (0, longer), value=1))
        mask = kwargs.get("denoise_mask")
        if mask is not None:
            until = (mask[:, :1].amax((-2, -1), keepdim=True) * 1000).round().int()                             # (B, 1, T, 1, 1)
            out["denoise_until"] = comfy.conds.CONDRegular(until)
            out["known"] = comfy.conds.CONDNoiseShape(kwargs["latent_image"])
        return out

    def caption(self, embedding, null: bool):
        """(1, L, D_caption): the prompt's, or the first L tokens of the null caption, which the release cuts as long as the prompt.

        Its embedding is all zeros, which no text's is, so ConditioningZeroOut makes it of any.
        """
        model = self.diffusion_model
        if embedding.shape[-1] != model.caption_channels:
            raise ValueError(f"The prompt's embedding has {embedding.shape[-1]} channels, this model reads {model.caption_channels}; "
                             f"connect a CLIPLoader with the T5-XXL encoder, type pixart, to ToCa Open-Sora Conditioning.")
        zero = not embedding.any()
        if null and not zero:
            raise ValueError("The conditioning is one of the null caption and another, as ConditioningAverage and ConditioningConcat make "
                             "it, but the null caption stands alone: connect the negative of ToCa Open-Sora Conditioning without them.")
        return model.y_embedder.y_embedding[None, :embedding.shape[1]].to(embedding) if zero else embedding


def shape_of(path: str, weights: dict, metadata: dict | None = None) -> STDiT3Shape:
    """Every size from the weights, the heads from their norms' width; where the metadata say another number of heads, they lie."""
    require(path, weights, KEYS, "Open-Sora 1.2 checkpoint (STDiT3)")
    shape = weights["x_embedder.proj.weight"].shape
    channels, patch = shape[1] if len(shape) > 1 else 0, shape[2:]
    head_dim = len(weights["spatial_blocks.0.attn.q_norm.weight"])
    if channels != CHANNELS or len(patch) != 3:
        raise CheckpointError(f"{path} works on {channels} channels and patches of {len(patch)} axes; an STDiT3 works on {CHANNELS} "
                              f"channels and patches of frames, rows and columns.")
    hidden = shape[0]
    if hidden % head_dim:
        raise CheckpointError(f"{path}: its attention norms have {head_dim} channels, which does not divide the hidden size {hidden}.")
    heads = hidden // head_dim
    if metadata and metadata.get("num_heads", str(heads)) != str(heads):
        raise CheckpointError(f"{path}: its metadata says num_heads {shown(metadata['num_heads'])}, its weights are those of {heads}; "
                              f"write the true number into the file, or leave it out.")
    tokens, caption_channels = weights["y_embedder.y_embedding"].shape
    return STDiT3Shape(
        in_channels=channels, out_channels=weights["final_layer.linear.weight"].shape[0] // prod(patch), patch_size=tuple(patch),
        hidden_size=hidden, depth=depth_of(path, weights, "spatial_blocks"), num_heads=heads,
        mlp_hidden=weights["spatial_blocks.0.mlp.fc1.weight"].shape[0], caption_channels=caption_channels, caption_tokens=tokens)


def load_stdit3(path: str, weight_dtype: str = "default", disable_dynamic: bool = False):
    """An Open-Sora 1.2 checkpoint (.safetensors, .pt) -> ModelPatcher. Raises CheckpointError for any other file."""
    weights, metadata = read_checkpoint(path)
    config = STDiT3Config(shape_of(path, weights, metadata))
    patcher = make_patcher(path, weights, config, weight_dtype, disable_dynamic)
    patcher.cached_patcher_init = (load_stdit3, (path, weight_dtype))
    return patcher
