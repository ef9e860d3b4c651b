"""DiT: whole runs of the released samplers, with ToCa and without."""

import importlib
import types

import torch

from . import drawn, stand_ins
from .code import importable
from .watch import Recorded, Trial, Watch, ready

DEPTH, HIDDEN, HEADS, CLASSES, GUIDANCE, LABEL = 28, 32, 4, 10, 1.5, 3
SETTINGS = {
    "dit": {"steps": "20", "sched": "ToCa-ddim50", "sampler": "ddim", "size": "12", "N": "3", "R": "0.07", "soft": "0.25"},
    "dit_ddpm": {"steps": "12", "sched": "ToCa-ddpm250", "sampler": "ddpm", "size": "8", "N": "4", "R": "0.07", "soft": "0.25"},
}


class Calls:
    """Stands in for the model's `forward`; keeps what went in and came out. `given` are inputs to use in place of the sampler's."""

    def __init__(self, model, watch: Watch, given=None):
        self.forward, self.watch, self.given = model.forward, watch, given
        self.rows: dict = {name: [] for name in ("x", "t", "out", "is_full", "official_step")}

    def __call__(self, x, t, current, cache_dic, y):
        x = x if self.given is None else self.given[len(self.rows["x"])].to(x.dtype)
        self.watch.new_step()
        out = self.forward(x, t, current, cache_dic, y)
        full = torch.tensor(current["type"] == "full", dtype=torch.int32)
        for rows, value in zip(self.rows.values(), (x, t.float(), out, full, torch.tensor(current["step"])), strict=True):
            rows.append(value.clone())
        return out

    def tensors(self) -> dict:
        return {name: torch.stack(rows) for name, rows in self.rows.items()}


def decided_once(cal_type):
    """The kind of a step as block 0 decides it; `current` carries it to the later blocks."""
    def decide(cache_dic, current):
        if current["layer"] == 0:
            cal_type(cache_dic, current)
    return decide


def sample(parts, model, noise, y, settings: dict, caching: dict):
    """The released sampler's run from that noise."""
    loops = {"ddim": parts.diffusion.SpacedDiffusion.ddim_sample_loop, "ddpm": parts.diffusion.SpacedDiffusion.p_sample_loop}
    options = {"y": y, "cfg_scale": GUIDANCE, "cache_type": "attention", "force_fresh": "global", "test_FLOPs": False,
               "ratio_scheduler": settings["sched"], "soft_fresh_weight": float(settings["soft"]), **caching}
    return loops[settings["sampler"]](parts.diffusion.create_diffusion(settings["steps"]), model.forward_with_cfg, noise.shape, noise,
                                      clip_denoised=False, model_kwargs=options, device="cpu")


def record(root, name: str, seed: int, trial: Trial) -> Recorded:
    settings = {**SETTINGS[name], "hidden": str(HIDDEN), "heads": str(HEADS), "cfg": str(GUIDANCE)}
    size = int(settings["size"])
    with importable(root / "DiT-ToCa", ("models", "diffusion", "cache_functions"), stand_ins.DIT):
        parts = types.SimpleNamespace(models=importlib.import_module("models"), diffusion=importlib.import_module("diffusion"))
        model = parts.models.DiT(input_size=size, hidden_size=HIDDEN, depth=DEPTH, num_heads=HEADS, num_classes=CLASSES)
        weights = drawn.weights_for(model, seed)
        ready(model, weights, trial)
        parts.models.cal_type = decided_once(parts.models.cal_type)
        watch = Watch(parts.models, lambda current: f"block{current['layer']}")
        noise = torch.randn(1, 4, size, size, generator=torch.Generator().manual_seed(seed)).repeat(2, 1, 1, 1)
        y = torch.tensor([LABEL, CLASSES])

        def run(forward, **caching):
            model.forward = forward
            torch.manual_seed(seed)                                 # DDPM's noise
            return sample(parts, model, noise.to(trial.dtype), y, settings, caching)

        plain = model.forward
        calls = Calls(model, watch, trial.inputs)
        end = run(calls, fresh_ratio=float(settings["R"]), fresh_threshold=int(settings["N"]))
        tensors = {"noise": noise, "y": y, **calls.tensors(), **watch.masks(), "fresh_count": watch.counts(""), "sample": end,
                   "sample_uncached": run(plain, fresh_ratio=0.0, fresh_threshold=1)}
    return Recorded(weights, tensors, settings)
