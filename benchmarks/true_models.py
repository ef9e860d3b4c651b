"""Models of the host and of the pack at their published widths, with random weights: what they cost does not depend on what they know."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from tools.pack import load_host, pack_module

load_host(cpu=not torch.cuda.is_available())
import comfy.cli_args

comfy.cli_args.args.use_pytorch_cross_attention = True              # fused attention, also on a CPU
import comfy.model_management
import comfy.model_patcher
import comfy.supported_models


@dataclass(frozen=True)
class Sized:
    """A model and the work it is given.

    make        (blocks, heads where it can have fewer) -> the host's model config
    depth       blocks at full size (FLUX: double ones, and two single ones to each)
    shape       of the latent; `words` of the picture or video
    text        tokens and their width
    extra       beside the text in the conditioning, () -> dict
    """
    make: Callable
    depth: int
    shape: tuple[int, ...]
    words: str
    steps: int
    cfg: float
    text: tuple[int, int]
    extra: Callable = dict

    def conditioning(self):
        """-> [positive, negative]; another text each, since equal ones would be one call."""
        return [[[torch.randn(1, *self.text), self.extra()]] for _ in range(2)]


def pixart(depth):
    module = pack_module("nodes.models.pixart")
    sizes = dict(image_model="toca_pixart", in_channels=4, patch_size=2, hidden_size=1152, depth=depth, num_heads=16, caption_channels=4096,
                 model_max_length=120, micro_condition=False, pred_sigma=True, mlp_ratio=4, position_extent=32)
    return module.PixArtConfig(sizes, module.VERSIONS["PixArt-alpha"].latent_format)


def open_sora(depth):
    loader, stdit3 = pack_module("nodes.models.stdit3_loader"), pack_module("nodes.models.stdit3")
    return loader.STDiT3Config(stdit3.STDiT3Shape(4, 8, (1, 2, 2), 1152, depth, 16, 4608, 4096, 300))


def flux(depth, heads=24):
    return comfy.supported_models.Flux(dict(
        image_model="flux", in_channels=16, out_channels=16, patch_size=2, hidden_size=128 * heads, context_in_dim=4096, vec_in_dim=768,
        mlp_ratio=4.0, num_heads=heads, depth=depth, depth_single_blocks=2 * depth, axes_dim=[16, 56, 56], theta=10000, qkv_bias=True,
        guidance_embed=True, txt_ids_dims=[]))


def wan(depth, heads=40):
    return comfy.supported_models.WAN21_T2V(dict(
        image_model="wan2.1", model_type="t2v", dim=128 * heads, ffn_dim=13824 * heads // 40, num_heads=heads, num_layers=depth,
        patch_size=(1, 2, 2), freq_dim=256, text_dim=4096, in_dim=16, out_dim=16, qk_norm=True, cross_attn_norm=True, eps=1e-6,
        window_size=(-1, -1)))


def qwen_image(depth, heads=24):
    return comfy.supported_models.QwenImage(dict(image_model="qwen_image", num_layers=depth, num_attention_heads=heads))


def flux_extra():
    return {"pooled_output": torch.randn(1, 768), "guidance": 3.5}


MODELS = {
    "pixart": Sized(pixart, 28, (1, 4, 64, 64), "512 x 512", 20, 4.5, (120, 4096)),
    "open_sora": Sized(open_sora, 28, (1, 4, 16, 30, 53), "51 frames of 240p", 30, 7.0, (300, 4096)),
    "flux": Sized(flux, 19, (1, 16, 128, 128), "1024 x 1024", 28, 1.0, (512, 4096), flux_extra),
    "wan": Sized(wan, 40, (1, 16, 9, 60, 104), "33 frames of 832 x 480", 20, 5.0, (512, 4096)),
    "qwen_image": Sized(qwen_image, 60, (1, 16, 1, 128, 128), "1024 x 1024", 20, 4.0, (128, 3584)),
}


def build(sized: Sized, depth: int, weights=torch.bfloat16, **fewer):
    """-> MODEL that computes in bf16, on the device that the host uses; `weights` is the dtype that they are kept in."""
    config = sized.make(depth, **fewer)
    config.set_inference_dtype(weights, None if weights == torch.bfloat16 else torch.bfloat16)
    device = comfy.model_management.get_torch_device()
    model = config.get_model({}, "", device=device)
    with torch.no_grad():
        for weight in model.diffusion_model.parameters():
            weight.copy_(torch.empty(weight.shape, dtype=torch.bfloat16, device=weight.device).normal_(std=0.02))
    return comfy.model_patcher.CoreModelPatcher(model, load_device=device, offload_device=device)
