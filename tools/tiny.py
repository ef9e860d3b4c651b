"""Small models of released layouts with random weights, for tests and workflows: real classes, loaders and nodes, no real pictures."""

import torch
from safetensors.torch import save_file

from .pack import pack_module


def tiny_opensora(path: str, hidden: int = 64, depth: int = 2, num_heads: int = 4, caption_channels: int = 768, caption_tokens: int = 300,
                  seed: int = 0):
    """Write an STDiT3 as .safetensors. By default it reads what a CLIP-L text encoder gives. The host has to be importable."""
    import comfy.ops
    stdit3 = pack_module("nodes.models.stdit3")
    shape = stdit3.STDiT3Shape(4, 8, (1, 2, 2), hidden, depth, num_heads, 4 * hidden, caption_channels, caption_tokens)
    model = stdit3.STDiT3(**shape.as_unet_config(), dtype=torch.float32, device="meta", operations=comfy.ops.disable_weight_init)
    weights = random_weights({key: tuple(value.shape) for key, value in model.state_dict().items()}, seed)
    weights["rope.freqs"] = 10000.0 ** -torch.linspace(0, 1, hidden // num_heads // 2 + 1)[:-1]
    save_file(weights, path, {"num_heads": str(num_heads)})


def random_weights(shapes: dict, seed: int) -> dict:
    """Matrices that keep the scale; vectors and tables that are neither zero nor one, so that every part matters."""
    generator = torch.Generator().manual_seed(seed)

    def values(key, shape):
        noise = torch.randn(shape, generator=generator)
        if key.endswith("norm.weight"):
            return 1 + 0.1 * noise
        if len(shape) < 2 or key.endswith("table"):
            return 0.3 * noise
        return noise * torch.Size(shape[1:]).numel() ** -0.5
    return {key: values(key, shape) for key, shape in shapes.items()}
