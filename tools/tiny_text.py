"""A text encoder with random weights in a file of about 2 MB, for tests that need a prompt encoded and no matter how well.

CLIP-L is the smallest one that the host's CLIPLoader builds (`comfy/sd.py`, whatever type is chosen): 123 million parameters,
context (1, 77, 768) and pooled output (1, 768). Its sizes are fixed there, so the file saves on numbers instead of layers.
"""

from pathlib import Path

import torch

WIDTH, LAYERS, WORDS, POSITIONS = 768, 12, 49408, 77


def tiny_clip(path: Path, seed: int = 0) -> Path:
    """Write a CLIP-L of random weights to `path`, every key that the host expects; gives `path` back.

    Each matrix is a window sliding over a short vector of random numbers: all its rows differ, and only the vector is stored.
    Raises ValueError for a .safetensors path, since that format stores every element.
    """
    path = Path(path)
    if path.suffix not in (".pt", ".pth"):
        raise ValueError(f"{path.name} would hold all 123 million parameters; end the name with .pt or .pth.")
    generator = torch.Generator().manual_seed(seed)
    torch.save({key: random_weight(key, shape, generator) for key, shape in clip_shapes().items()}, path)
    return path


def clip_shapes() -> dict[str, tuple[int, ...]]:
    """Name -> shape of every weight of a CLIP-L text encoder, as the host names them."""
    layers = {f"layers.{layer}.{name}": shape for layer in range(LAYERS) for name, shape in layer_shapes().items()}
    shapes = {"embeddings.token_embedding.weight": (WORDS, WIDTH), "embeddings.position_embedding.weight": (POSITIONS, WIDTH),
              **{f"encoder.{name}": shape for name, shape in layers.items()}, **pair("final_layer_norm", WIDTH)}
    return {**{f"text_model.{name}": shape for name, shape in shapes.items()}, "text_projection.weight": (WIDTH, WIDTH)}


def layer_shapes() -> dict[str, tuple[int, ...]]:
    square = [f"self_attn.{name}_proj" for name in ("q", "k", "v", "out")]
    shapes = pair("mlp.fc1", 4 * WIDTH, WIDTH) | pair("mlp.fc2", WIDTH, 4 * WIDTH) | pair("layer_norm1", WIDTH) | pair("layer_norm2", WIDTH)
    return shapes | {key: shape for name in square for key, shape in pair(name, WIDTH, WIDTH).items()}


def pair(name: str, *shape: int) -> dict[str, tuple[int, ...]]:
    """A layer's weight and bias."""
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def random_weight(key: str, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """Weights that keep the scale of what goes through them; of a matrix (R, C) only R + C - 1 numbers are stored."""
    if len(shape) == 1:
        return key.endswith(".weight") + 0.1 * torch.randn(shape, generator=generator)          # a norm's weight is about 1
    return (torch.randn(sum(shape) - 1, generator=generator) * shape[1] ** -0.5).as_strided(shape, (1, 1))
