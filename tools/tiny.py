"""Small checkpoints of the real classes with random weights, for tests and to try workflows without the large files."""

import torch
from safetensors.torch import save_file

from .pack import pack_module


def random_weights(shapes: dict, seed: int = 0) -> dict:
    """Weights under which every token matters: matrices that keep the scale, gates and shifts that are not small."""
    generator = torch.Generator().manual_seed(seed)

    def values(key, shape):
        noise = torch.randn(shape, generator=generator)
        if "norm." in key:
            return 1 + 0.1 * noise
        return noise * (0.5 if len(shape) < 2 else (shape[-1] if len(shape) == 2 else 16) ** -0.5)
    return {key: values(key, shape) for key, shape in shapes.items()}


def linear(name: str, inputs: int, outputs: int) -> dict:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def flux_shapes(hidden=256, heads_width=128, double=2, single=3, context=768, pooled=768, guidance=True, channels=16) -> dict:
    """FLUX.1 under its released key names; the defaults are the smallest the host's detection takes."""
    shapes = {**linear("img_in", 4 * channels, hidden), **linear("txt_in", context, hidden)}
    for name, width in (("time_in", 256), ("vector_in", pooled)) + ((("guidance_in", 256),) if guidance else ()):
        shapes |= linear(f"{name}.in_layer", width, hidden) | linear(f"{name}.out_layer", hidden, hidden)
    for block in (f"double_blocks.{index}.{stream}" for index in range(double) for stream in ("img", "txt")):
        shapes |= linear(f"{block}_attn.qkv", hidden, 3 * hidden) | linear(f"{block}_attn.proj", hidden, hidden)
        shapes |= {f"{block}_attn.norm.{name}_norm.scale": (heads_width,) for name in ("query", "key")}
        shapes |= linear(f"{block}_mlp.0", hidden, 4 * hidden) | linear(f"{block}_mlp.2", 4 * hidden, hidden)
        shapes |= linear(f"{block}_mod.lin", hidden, 6 * hidden)
    for block in (f"single_blocks.{index}" for index in range(single)):
        shapes |= linear(f"{block}.linear1", hidden, 7 * hidden) | linear(f"{block}.linear2", 5 * hidden, hidden)
        shapes |= {f"{block}.norm.{name}_norm.scale": (heads_width,) for name in ("query", "key")}
        shapes |= linear(f"{block}.modulation.lin", hidden, 3 * hidden)
    return shapes | linear("final_layer.linear", hidden, 4 * channels) | linear("final_layer.adaLN_modulation.1", hidden, 2 * hidden)


def flux2_shapes(hidden=256, heads_width=128, double=2, single=2, context=768) -> dict:
    """FLUX.2: no biases, modulations shared by all blocks, gated MLPs of three times the width, latents of 128 channels."""
    shapes = {"img_in.weight": (hidden, 128), "txt_in.weight": (hidden, context), "final_layer.linear.weight": (128, hidden),
              "final_layer.adaLN_modulation.1.weight": (2 * hidden, hidden), "single_stream_modulation.lin.weight": (3 * hidden, hidden)}
    shapes |= {f"double_stream_modulation_{stream}.lin.weight": (6 * hidden, hidden) for stream in ("img", "txt")}
    for name in ("time_in", "guidance_in"):
        shapes |= {f"{name}.in_layer.weight": (hidden, 256), f"{name}.out_layer.weight": (hidden, hidden)}
    for block in (f"double_blocks.{index}.{stream}" for index in range(double) for stream in ("img", "txt")):
        shapes |= {f"{block}_attn.qkv.weight": (3 * hidden, hidden), f"{block}_attn.proj.weight": (hidden, hidden),
                   f"{block}_mlp.0.weight": (6 * hidden, hidden), f"{block}_mlp.2.weight": (hidden, 3 * hidden)}
        shapes |= {f"{block}_attn.norm.{name}_norm.scale": (heads_width,) for name in ("query", "key")}
    for block in (f"single_blocks.{index}" for index in range(single)):
        shapes |= {f"{block}.linear1.weight": (9 * hidden, hidden), f"{block}.linear2.weight": (hidden, 4 * hidden)}
        shapes |= {f"{block}.norm.{name}_norm.scale": (heads_width,) for name in ("query", "key")}
    return shapes


def dit_weights(hidden=48, depth=4, classes=5, channels=4, patch=2, grid=8, seed=0) -> dict:
    """A DiT under the released key names."""
    shapes = {
        "x_embedder.proj.weight": (hidden, channels, patch, patch), "x_embedder.proj.bias": (hidden,),
        "pos_embed": (1, grid * grid, hidden),
        "t_embedder.mlp.0.weight": (hidden, 256), "t_embedder.mlp.0.bias": (hidden,),
        "t_embedder.mlp.2.weight": (hidden, hidden), "t_embedder.mlp.2.bias": (hidden,),
        "y_embedder.embedding_table.weight": (classes + 1, hidden),
        "final_layer.linear.weight": (patch * patch * channels * 2, hidden), "final_layer.linear.bias": (patch * patch * channels * 2,),
        "final_layer.adaLN_modulation.1.weight": (2 * hidden, hidden), "final_layer.adaLN_modulation.1.bias": (2 * hidden,)}
    for block in range(depth):
        layers = (("attn.qkv", 3, 1), ("attn.proj", 1, 1), ("mlp.fc1", 4, 1), ("mlp.fc2", 1, 4), ("adaLN_modulation.1", 6, 1))
        for name, rows, cols in layers:
            shapes[f"blocks.{block}.{name}.weight"] = (rows * hidden, cols * hidden)
            shapes[f"blocks.{block}.{name}.bias"] = (rows * hidden,)
    return random_weights(shapes, seed)


def pixart_weights(hidden=48, depth=3, tokens=12, caption=32, seed=0) -> dict:
    """A PixArt-alpha without micro-conditioning under the released key names."""
    shapes = {
        "x_embedder.proj.weight": (hidden, 4, 2, 2), "x_embedder.proj.bias": (hidden,),
        "t_embedder.mlp.0.weight": (hidden, 256), "t_embedder.mlp.0.bias": (hidden,),
        "t_embedder.mlp.2.weight": (hidden, hidden), "t_embedder.mlp.2.bias": (hidden,),
        "t_block.1.weight": (6 * hidden, hidden), "t_block.1.bias": (6 * hidden,),
        "y_embedder.y_embedding": (tokens, caption),
        "y_embedder.y_proj.fc1.weight": (hidden, caption), "y_embedder.y_proj.fc1.bias": (hidden,),
        "y_embedder.y_proj.fc2.weight": (hidden, hidden), "y_embedder.y_proj.fc2.bias": (hidden,),
        "final_layer.linear.weight": (32, hidden), "final_layer.linear.bias": (32,), "final_layer.scale_shift_table": (2, hidden)}
    for block in range(depth):
        shapes[f"blocks.{block}.scale_shift_table"] = (6, hidden)
        for name, rows, cols in (("attn.qkv", 3, 1), ("attn.proj", 1, 1), ("cross_attn.q_linear", 1, 1), ("cross_attn.kv_linear", 2, 1),
                                 ("cross_attn.proj", 1, 1), ("mlp.fc1", 4, 1), ("mlp.fc2", 1, 4)):
            shapes[f"blocks.{block}.{name}.weight"] = (rows * hidden, cols * hidden)
            shapes[f"blocks.{block}.{name}.bias"] = (rows * hidden,)
    return random_weights(shapes, seed)


def tiny_flux2(path, seed: int = 0, **sizes):
    """A FLUX.2 that the stock loader takes; sizes as in `flux2_shapes`."""
    save_file(random_weights(flux2_shapes(**sizes), seed), path)


def tiny_flux(path, seed: int = 0, **sizes):
    """A FLUX.1 that the stock loader takes; sizes as in `flux_shapes`."""
    save_file(random_weights(flux_shapes(**sizes), seed), path)


def tiny_open_sora(path, hidden=64, depth=2, heads=4, caption=768, tokens=300, seed: int = 0):
    """An STDiT3 under its released key names; by default it reads what a CLIP-L text encoder gives. The host has to be importable."""
    import comfy.ops
    stdit3 = pack_module("nodes.models.stdit3")
    shape = stdit3.STDiT3Shape(4, 8, (1, 2, 2), hidden, depth, heads, 4 * hidden, caption, tokens)
    model = stdit3.STDiT3(**shape.as_unet_config(), dtype=torch.float32, device="meta", operations=comfy.ops.disable_weight_init)
    weights = random_weights({key: tuple(value.shape) for key, value in model.state_dict().items()}, seed)
    weights["rope.freqs"] = 10000.0 ** -torch.linspace(0, 1, hidden // heads // 2 + 1)[:-1]
    save_file(weights, path)
