"""Replay a recording of the ToCa authors' own code through the host's sampling and this pack, and compare.

    python run.py replay WEIGHTS IO [--json]

The recorded inputs are fed by a sampler to the host's guider; everything after that is the real path: the host's model
object, our seam, the node's settings. Settings, sizes and steps come from the recording's metadata. A file of weights that holds only
their seed (tools/authors/drawn.py) is written out whole first.
"""

import argparse
import dataclasses
import json
import sys
import tempfile
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent))        # last, or the project's nodes/ would hide the host's nodes.py
from tools.pack import load_host, pack_module

load_host()
import torch
from safetensors import safe_open

import comfy.model_detection
import comfy.samplers
import comfy.supported_models
from comfy.patcher_extension import WrappersMP

from tools import replay_vae
from tools.authors import drawn, watch

SCHEDULES = {"ToCa-ddim50": "DIT_DDIM_50", "ToCa-ddpm250": "DIT_DDPM_250"}
PRESETS = {"pixart": "PIXART", "stdit3": "OPEN_SORA", "flux": "FLUX"}
MARKS = {"dit": "x", "pixart": "fresh_count_cross", "stdit3": "is_full_attn_cross_mlp", "flux": "guidance"}       # a tensor only it has
KINDS = {"is_full": ("mlp",), "is_full_attn_cross_mlp": ("self_attn", "cross_attn", "mlp")}         # what its columns speak of
COUNTS = {"dit": {"mlp": "fresh_count"}, "pixart": {"mlp": "fresh_count_mlp", "cross_attn": "fresh_count_cross"}, "stdit3": {}, "flux": {}}


class RecordedTimes(torch.nn.Module):
    """A model sampling whose noise level is the model's timestep itself, so that inputs and outputs pass unscaled."""
    sigma_min, sigma_max = 0.0, 1000.0

    def calculate_input(self, sigma, noise):
        return noise

    def calculate_denoised(self, sigma, model_output, model_input):
        return model_output

    def timestep(self, sigma):
        return sigma

    def percent_to_sigma(self, percent):
        return torch.inf if percent <= 0 else -1.0

    def noise_scaling(self, sigma, noise, latent_image, max_denoise=False):
        return noise


@dataclasses.dataclass
class Recording:
    """A recording in one form for all families: step i's latent (1, C, ...), its timestep, and what came out."""
    family: str
    settings: dict
    latents: list
    times: list[float]
    positive: list
    negative: list
    tensors: dict

    @property
    def steps(self) -> int:
        return len(self.times)

    @property
    def guided(self) -> bool:
        return self.tensors["out"].shape[1] > 1                     # [cond, uncond]


def read(io_path: str) -> Recording:
    with safe_open(io_path, "pt") as file:
        settings, tensors = file.metadata(), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118, no dict
    family = next((name for name, key in MARKS.items() if key in tensors), None)
    if family is None:
        raise SystemExit(f"{io_path} is no recording of a known family ({', '.join(MARKS)}).")
    if family == "dit":
        conditioning = pack_module("nodes.models.dit_loader").conditioning
        positive, negative = (conditioning([int(label)]) for label in tensors["y"])
        return Recording(family, settings, [x[:1] for x in tensors["x"]], tensors["t"][:, 0].tolist(), positive, negative, tensors)
    latents = [watch.latent(tensors, step) for step in range(len(tensors["theta"]))]
    if family == "flux":
        positive = negative = [[tensors["txt"], {"pooled_output": tensors["y"], "guidance": tensors["guidance"].item()}]]
    else:
        options = video_options(tensors) if family == "stdit3" else {}
        positive, negative = ([[caption, options]] for caption in tensors["y"])
    return Recording(family, settings, latents, tensors["t"].tolist(), positive, negative, tensors)


def video_options(tensors: dict) -> dict:
    loader = pack_module("nodes.models.stdit3_loader")
    return {loader.FPS: tensors["fps"].item(), loader.PIXELS: (tensors["height"].item(), tensors["width"].item())}


def load_model(recording: Recording, weights: str):
    heads = int(recording.settings["heads"])
    if recording.family == "dit":
        return pack_module("nodes.models.dit_loader").load_dit(weights, "fp32", heads)
    if recording.family == "flux":
        return load_flux(weights, heads, json.loads(recording.settings["axes_dim"]))
    if recording.family == "stdit3":
        return pack_module("nodes.models.stdit3_loader").load_stdit3(weights, "fp32")
    return pack_module("nodes.models.pixart").load_pixart(weights, "fp32", "PixArt-alpha", heads)


def load_flux(path: str, heads: int, axes: list[int]):
    """The host's own class at any size; its detection derives heads and axes from the released ones."""
    loading = pack_module("nodes.models.loading")
    weights, _ = loading.read_checkpoint(path)
    config = comfy.model_detection.detect_unet_config(weights, "")
    config.update(num_heads=heads, axes_dim=axes)
    return loading.make_patcher(path, weights, comfy.supported_models.Flux(config), "fp32", False)


def settings_of(recording: Recording):
    """The published preset with what the recording varies, as the node's custom settings."""
    published, given = pack_module("toca_core.published"), recording.settings
    if recording.family == "dit" and given["sched"] not in SCHEDULES:
        raise SystemExit(f"The recording follows the schedule {given['sched']!r}; known are {', '.join(SCHEDULES)}.")
    preset = getattr(published, SCHEDULES[given["sched"]] if recording.family == "dit" else PRESETS[recording.family])
    varied = {"fresh_ratio": float(given["R"]), "staleness_weight": float(given["soft"]), "score_queries": 1.0}
    if recording.family != "stdit3":                                # whose released code holds its three cycles fixed
        varied["cycle"] = int(given["N"])
    config = dataclasses.replace(preset, **varied)
    return pack_module("nodes.host.settings").Settings("custom", config)


def adding_noise(model, x, noise_sampler=None):
    """By this parameter it is known of a sampler that its sample need not be like the one before."""


class Feeder(comfy.samplers.Sampler):
    """Calls the model on the recorded inputs in turn."""

    def __init__(self, recording: Recording):
        self.recording = recording
        if recording.settings.get("sampler") == "ddpm":
            self.sampler_function = adding_noise

    def sample(self, model_wrap, sigmas, extra_args, callback, noise, latent_image=None, denoise_mask=None, disable_pbar=False):
        for latent, time in zip(self.recording.latents, self.recording.times, strict=True):
            model_wrap(latent, torch.full((1,), time), **extra_args)
        return latent_image


class Comparison:
    """An APPLY_MODEL wrapper outside ours that holds each call against the recording."""

    def __init__(self, recording: Recording, diffusion_model):
        self.recording, self.model = recording, diffusion_model
        self.step, self.max_rel, self.mask_mismatches, self.full_step_mismatches = 0, 0.0, 0, 0

    def __call__(self, executor, x, t, c_concat, c_crossattn, control, transformer_options, **kwargs):
        tokens = []
        hook = self.model.final_layer.register_forward_hook(lambda module, args, output: tokens.append(output))
        try:
            result = executor(x, t, c_concat, c_crossattn, control, transformer_options, **kwargs)
        finally:
            hook.remove()
        order = transformer_options["cond_or_uncond"]               # recorded as [cond, uncond]
        self.compare_output(self.in_released_form(result, tokens[0], x), order)
        self.compare_full(transformer_options["toca"])
        self.compare_selection(transformer_options["toca"], order)
        self.step += 1
        return result

    def in_released_form(self, result, tokens, x):
        """What the released model returns: DiT's variance, which sampling drops, is in it; Open-Sora's velocity has the other sign."""
        if self.recording.family == "dit":
            return self.model.unpatchify(tokens, x.shape[-2] // self.model.patch_size, x.shape[-1] // self.model.patch_size)
        return -result if self.recording.family == "stdit3" else result

    def compare_output(self, output, order):
        expected = self.recording.tensors["out"][self.step][order]
        self.max_rel = max(self.max_rel, ((output - expected).norm() / expected.norm()).item())

    def compare_full(self, run):
        for name, kinds in KINDS.items():
            if name in self.recording.tensors:
                recorded = self.recording.tensors[name][self.step].flatten().tolist()
                self.full_step_mismatches += sum((kind in run.last_call.full) != bool(full)
                                                 for kind, full in zip(kinds, recorded, strict=True))

    def compare_selection(self, run, order):
        call, tensors = run.last_call, self.recording.tensors
        for site in call.bound.depths:
            self.compare_counts(call, site)
            prefix = "fresh_mask." + ("" if self.recording.family == "dit" else f"{site.name}.")
            for block in range(call.bound.depths[site]):
                if f"{prefix}block{block}" in tensors and site.kind not in ("self_attn", *call.full):
                    self.compare_mask(tensors[f"{prefix}block{block}"][self.step][order].bool(), call.selected.get((site, block)))

    def compare_counts(self, call, site):
        recorded = self.recording.tensors.get(COUNTS[self.recording.family].get(site.kind))
        if recorded is not None:
            got = [-1 if site.kind in call.full else count for count in call.counts.get(site, [-1] * call.bound.depths[site])]
            self.mask_mismatches += sum(one != other for one, other in zip(got, recorded[self.step].tolist(), strict=True))

    def compare_mask(self, expected, fresh):
        """expected (batch, tokens) against the indices (b, n) of fresh tokens, or None where there were none."""
        got = torch.zeros_like(expected)
        if fresh is not None:
            got.scatter_(1, fresh.repeat(len(got) // len(fresh), 1), True)
        self.mask_mismatches += int((got != expected).sum())


def replay(weights: str, io_path: str) -> dict:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        return replay_whole(str(drawn.written_out(Path(weights), Path(folder))), io_path)


def replay_whole(weights: str, io_path: str) -> dict:
    """`replay` with a file that holds its weights."""
    if replay_vae.is_vae_recording(io_path):
        return replay_vae.replay(weights, io_path)
    recording = read(io_path)
    model = load_model(recording, weights)
    model.add_object_patch("model_sampling", RecordedTimes())
    comparison = Comparison(recording, model.model.diffusion_model)
    model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "replay", comparison)
    model = pack_module("nodes.host.seam").install(model, settings_of(recording))
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(recording.positive, recording.negative)
    guider.set_cfg(2.0 if recording.guided else 1.0)                # at anything but 1 both conditionings run
    start = torch.zeros_like(recording.latents[0])
    with torch.inference_mode():
        guider.sample(start, start, Feeder(recording), torch.tensor([*recording.times, -1.0]), disable_pbar=True, seed=0)
    return {"family": recording.family, "steps": comparison.step, "max_rel": comparison.max_rel,
            "mask_mismatches": comparison.mask_mismatches, "full_step_mismatches": comparison.full_step_mismatches}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="run.py replay", description="Replay a recording of the reference implementation.")
    parser.add_argument("weights")
    parser.add_argument("io")
    parser.add_argument("--json", action="store_true", help="print one JSON line")
    given = parser.parse_args()
    result = replay(given.weights, given.io)
    if given.json:
        print(pack_module("toca_core.finite").dumps(result))
    else:
        print("\n".join(f"{name:22} {value}" for name, value in result.items()))
    exact = result["max_rel"] <= 1e-4 and not result.get("mask_mismatches") and not result.get("full_step_mismatches")
    sys.exit(0 if exact else 1)
