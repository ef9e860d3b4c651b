"""Open-Sora 1.2: its transformer STDiT3, the temporal half of its VAE, and the times of its sampler."""

import importlib

import torch
from torch import nn

from . import drawn, stand_ins
from .code import importable
from .watch import CACHING, Recorded, Trial, Watch, blended, latent, ready

DEPTH, HIDDEN, HEADS, CAPTION, WORDS, FRAMES, HEIGHT, WIDTH, STEPS = 28, 32, 4, 24, 10, 3, 8, 12, 13
SIZE = {"fps": torch.tensor([24.0]), "height": torch.tensor([64.0]), "width": torch.tensor([96.0])}
PACKAGES = ("opensora", "opensora.models", "opensora.models.stdit", "opensora.models.layers", "opensora.models.vae", "opensora.schedulers",
            "opensora.schedulers.iddpm")
KINDS = {"attn": "attn", "cross-attn": "cross_attn", "mlp": "mlp"}
VAE = {"filters": 8, "num_res_blocks": 2, "channel_multipliers": (1, 2, 2, 4), "temporal_downsample": (False, True, True), "num_groups": 8}
CLIPS, LATENT = (1, 17, 20, 51), (3, 4)                             # frames; height and width of what the image half leaves
RUNS = ((512, 512, 1), (240, 426, 51), (480, 854, 51), (720, 1280, 102))        # height, width, frames
RUN_STEPS = 30


def code(root):
    return importable(root / "Open-Sora", ("opensora",), stand_ins.OPEN_SORA, PACKAGES)


def site_of(current: dict) -> str:
    return f"{'temporal' if current['flag'] == -1 else 'spatial'}.{KINDS[current['module']]}.block{current['layer']}"


def record(root, name: str, seed: int, trial: Trial) -> Recorded:
    with code(root):
        stdit3 = importlib.import_module("opensora.models.stdit.stdit3")
        cache_init = importlib.import_module("opensora.models.cache_functions").cache_init
        model = stdit3.STDiT3(stdit3.STDiT3Config(hidden_size=HIDDEN, depth=DEPTH, num_heads=HEADS, caption_channels=CAPTION,
                                                  model_max_length=WORDS))
        weights = drawn.weights_for(model, seed)
        ready(model, weights, trial)
        watch, tensors = Watch(stdit3, site_of), inputs(seed)
        cache_dic, current = cache_init(CACHING, STEPS)
        outputs, full = [], []
        for step, time in enumerate(tensors["t"]):
            current["step"] = step
            watch.new_step()
            x = latent(tensors, step).repeat(2, 1, 1, 1, 1).to(trial.dtype)
            out = model(x, time.repeat(2), tensors["y"], **SIZE, cache_dic=cache_dic, current=current)
            outputs.append(out.chunk(2, dim=1)[0])                  # without the variance, as their sampler takes it
            full.append([int(current["is_force_fresh"][kind]) for kind in KINDS])
    tensors |= {"out": torch.stack(outputs), "is_full_attn_cross_mlp": torch.tensor(full, dtype=torch.int32), **watch.masks()}
    settings = {"steps": STEPS, "hidden": HIDDEN, "heads": HEADS, "cap": CAPTION, "L": WORDS, "T": FRAMES, "H": HEIGHT, "W": WIDTH,
                "R": CACHING["fresh_ratio"], "N": CACHING["fresh_threshold"], "soft": CACHING["soft_fresh_weight"]}
    return Recorded(weights, tensors, {key: str(value) for key, value in settings.items()})


def inputs(seed: int) -> dict:
    captions = torch.randn(2, 1, WORDS, CAPTION, generator=torch.Generator().manual_seed(seed + 1))
    return {**blended((4, FRAMES, HEIGHT, WIDTH), STEPS, seed), "t": torch.linspace(980, 20, STEPS), "y": captions, **SIZE}


# ---- the VAE and the times ----


class NoImageHalf(nn.Module):
    """Frames pass as they are: the released image half is another project's."""

    def encode(self, x):
        return x

    decode = encode


def record_vae(root, name: str, seed: int, trial: Trial) -> Recorded:
    with code(root):
        vae, temporal = (importlib.import_module(f"opensora.models.vae.{module}") for module in ("vae", "vae_temporal"))
        plain = temporal.DiagonalGaussianDistribution
        temporal.DiagonalGaussianDistribution = lambda moments: plain(moments, deterministic=True)      # the mode, without noise
        half = temporal.VAE_Temporal(**VAE)
        weights = drawn.weights_for(half, seed)
        model = ready(vae.VideoAutoencoderPipeline(vae.VideoAutoencoderPipelineConfig(
            vae_2d=NoImageHalf(), vae_temporal=half, micro_frame_size=17, shift=(-0.10, 0.34, 0.27, 0.98),
            scale=(3.85, 2.32, 2.33, 3.06))), {f"temporal_vae.{key}": value for key, value in weights.items()}, trial, ("scale", "shift"))
        tensors, generator = times(), torch.Generator().manual_seed(seed)
        for frames in CLIPS:
            clip = torch.randn(1, 4, frames, *LATENT, generator=generator)
            encoded = model.encode(clip.to(trial.dtype))
            tensors |= {f"frames{frames}.spatial_latent": clip, f"frames{frames}.latent": encoded,
                        f"frames{frames}.decoded_spatial_latent": model.decode(encoded, num_frames=frames)}
    return Recorded(weights, tensors, {key: str(value) for key, value in VAE.items()})


class Visited:
    """Stands in for their model in a sampler's run and keeps the times that it is called at."""

    def __init__(self):
        self.times = []

    def __call__(self, z, t, **others):
        self.times.append(t[0])
        return torch.zeros_like(z).repeat(1, 2, 1, 1, 1)


class NoText:
    def encode(self, prompts):
        return {"y": torch.zeros(1, 1)}

    def null(self, count):
        return torch.zeros(count, 1)


def times() -> dict:
    """times.HxW.framesF.stepsS: where the released sampler calls its model."""
    rflow = importlib.import_module("opensora.schedulers.rf").RFLOW(num_sampling_steps=RUN_STEPS, use_timestep_transform=True)
    found = {}
    for height, width, frames in RUNS:
        options = {"height": torch.tensor([float(height)]), "width": torch.tensor([float(width)]), "num_frames": torch.tensor([frames])}
        visited = Visited()
        rflow.sample(visited, NoText(), torch.zeros(1, 4, 1, 2, 2), [""], "cpu", {**options, **CACHING}, progress=False)
        found[f"times.{height}x{width}.frames{frames}.steps{RUN_STEPS}"] = torch.stack(visited.times)
    return found
