"""FLUX.1-dev's layout: two streams of 19 blocks, then 38 blocks whose MLP runs beside attention."""

import importlib
import json

import torch
from einops import rearrange

from . import drawn
from .code import importable
from .watch import Recorded, Trial, Watch, blended, latent, ready

HIDDEN, HEADS, AXES, CONTEXT, POOLED, WORDS, SIZE, STEPS, GUIDANCE = 32, 2, [4, 6, 6], 24, 16, 8, 16, 12, 3.5
DERIVED = ("mlp_in",)                                               # the half of linear1 that their partial steps fill in


def site_of(current: dict) -> str:
    return f"{current['stream'].removesuffix('_stream')}.{current['module']}.block{current['layer']}"


def positions(rows: int, columns: int):
    """(1, N, 3) of the picture's tokens; the text's are 0."""
    ids = torch.zeros(rows, columns, 3)
    ids[..., 1] += torch.arange(rows)[:, None]
    ids[..., 2] += torch.arange(columns)[None]
    return ids.reshape(1, -1, 3)


def record(root, name: str, seed: int, trial: Trial) -> Recorded:
    with importable(root / "flux-ToCa" / "src", ("flux",), {}):
        flux = importlib.import_module("flux.model")
        layers, caching = importlib.import_module("flux.modules.layers"), importlib.import_module("flux.modules.cache_functions")
        model = flux.Flux(flux.FluxParams(
            in_channels=64, out_channels=64, vec_in_dim=POOLED, context_in_dim=CONTEXT, hidden_size=HIDDEN, mlp_ratio=4.0,
            num_heads=HEADS, depth=19, depth_single_blocks=38, axes_dim=AXES, theta=10000, qkv_bias=True, guidance_embed=True))
        weights = drawn.weights_for(model, seed, DERIVED)
        ready(model, weights, trial, DERIVED)
        watch, tensors = Watch(layers, site_of), inputs(seed)
        cache_dic, current = caching.cache_init([*tensors["t"].tolist(), 0.0])
        current["num_steps"] = STEPS
        outputs, full = [], []
        for step, time in enumerate(tensors["t"]):
            current.update(step=step, t=time.item())
            watch.new_step()
            outputs.append(call(model, latent(tensors, step), time, tensors, cache_dic, current, trial.dtype))
            full.append(int(current["type"] == "full"))
    tensors |= {"out": torch.stack(outputs), "is_full": torch.tensor(full, dtype=torch.int32), **watch.masks()}
    settings = {"steps": STEPS, "hidden": HIDDEN, "heads": HEADS, "axes_dim": json.dumps(AXES), "cap": CONTEXT, "vec": POOLED, "L": WORDS,
                "size": SIZE, "R": cache_dic["fresh_ratio"], "N": cache_dic["fresh_threshold"],
                "soft": cache_dic["soft_fresh_weight"]}
    return Recorded(weights, tensors, {key: str(value) for key, value in settings.items()})


def call(model, x, time, tensors: dict, cache_dic: dict, current: dict, dtype):
    """x (1, C, H, W) -> the model's output in that form; it works on patches of 2 x 2."""
    tokens = rearrange(x, "b c (h p) (w q) -> b (h w) (c p q)", p=2, q=2)
    out = model(img=tokens.to(dtype), img_ids=positions(SIZE // 2, SIZE // 2), txt=tensors["txt"].to(dtype),
                txt_ids=torch.zeros(1, WORDS, 3), y=tensors["y"].to(dtype), timesteps=time.reshape(1).to(dtype),
                guidance=tensors["guidance"].to(dtype), cache_dic=cache_dic, current=current)
    return rearrange(out, "b (h w) (c p q) -> b c (h p) (w q)", h=SIZE // 2, p=2, q=2)


def inputs(seed: int) -> dict:
    generator = torch.Generator().manual_seed(seed + 1)
    return {**blended((16, SIZE, SIZE), STEPS, seed), "t": torch.linspace(1, 0.04, STEPS), "guidance": torch.tensor([GUIDANCE]),
            "txt": torch.randn(1, WORDS, CONTEXT, generator=generator), "y": torch.randn(1, POOLED, generator=generator)}
