"""PixArt-alpha, whose scores are the cross-attention's entropies."""

import contextlib
import importlib
import io

import torch

from . import drawn, stand_ins
from .code import importable
from .watch import CACHING, Recorded, Trial, Watch, blended, latent, ready

DEPTH, HIDDEN, HEADS, CAPTION, WORDS, SIZE, STEPS = 28, 48, 4, 32, 12, 16, 20
PACKAGES = ("diffusion", "diffusion.model", "diffusion.model.nets")
SITES = {"cross-attn": "cross_attn", "mlp": "mlp"}


def decided_once(global_force_fresh):
    """The kind of a step as block 0 decides it."""
    return lambda cache_dic, current: global_force_fresh(cache_dic, current) if current["layer"] == 0 else current["is_force_fresh"]


def record(root, name: str, seed: int, trial: Trial) -> Recorded:
    with importable(root / "PixArt-alpha-ToCa", ("diffusion",), stand_ins.PIXART, PACKAGES):
        pixart = importlib.import_module("diffusion.model.nets.PixArt")
        with contextlib.redirect_stdout(io.StringIO()):             # it prints its sizes
            model = pixart.PixArt(input_size=SIZE, hidden_size=HIDDEN, depth=DEPTH, num_heads=HEADS, caption_channels=CAPTION,
                                  model_max_length=WORDS)
        weights = drawn.weights_for(model, seed)
        ready(model, weights, trial)
        pixart.global_force_fresh = decided_once(pixart.global_force_fresh)
        watch = Watch(pixart, lambda current: f"{SITES[current['module']]}.block{current['layer']}")
        cache_init = importlib.import_module("diffusion.model.cache_functions").cache_init
        tensors = inputs(seed)
        cache_dic, current = cache_init(CACHING, STEPS)
        outputs, full = [], []
        for step, time in enumerate(tensors["t"]):
            current["step"] = step
            watch.new_step()
            x = latent(tensors, step).repeat(2, 1, 1, 1).to(trial.dtype)
            outputs.append(model.forward_with_dpmsolver(x, time.repeat(2), current, cache_dic, tensors["y"]))
            full.append(int(current["is_force_fresh"]))
    tensors |= {"out": torch.stack(outputs), "is_full": torch.tensor(full, dtype=torch.int32), **watch.masks(),
                "fresh_count_cross": watch.counts("cross_attn."), "fresh_count_mlp": watch.counts("mlp.")}
    settings = {"steps": STEPS, "hidden": HIDDEN, "heads": HEADS, "cap": CAPTION, "L": WORDS, "size": SIZE,
                "R": CACHING["fresh_ratio"], "N": CACHING["fresh_threshold"], "soft": CACHING["soft_fresh_weight"]}
    return Recorded(weights, tensors, {key: str(value) for key, value in settings.items()})


def inputs(seed: int) -> dict:
    captions = torch.randn(2, 1, WORDS, CAPTION, generator=torch.Generator().manual_seed(seed + 1))
    return {**blended((4, SIZE, SIZE), STEPS, seed), "t": torch.linspace(960, 10, STEPS), "y": captions}
