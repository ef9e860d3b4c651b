"""Replay a recording of the ToCa authors' own code through the host's sampling and this pack, and compare.

    python run.py replay WEIGHTS IO [--json]

The recorded inputs are fed by a sampler to the host's guider; everything after that is the real path: the host's model
object, our seam, the node's settings. Settings, sizes and steps come from the recording's metadata.
"""

import argparse
import dataclasses
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from pack import load_host, pack_module  # noqa: E402

load_host()
import replay_vae  # noqa: E402
import torch  # noqa: E402
from safetensors import safe_open  # noqa: E402

import comfy.samplers  # noqa: E402
from comfy.patcher_extension import WrappersMP  # noqa: E402

SCHEDULES = {"ToCa-ddim50": "DIT_DDIM_50", "ToCa-ddpm250": "DIT_DDPM_250"}


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
    """A recording in one form for all families: step i's latent (1, C, H, W), its timestep, and what came out."""
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


def read(io_path: str) -> Recording:
    with safe_open(io_path, "pt") as file:
        settings, tensors = file.metadata(), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118, no dict
    if "x" in tensors:
        conditioning = pack_module("nodes.models.dit_loader").conditioning
        positive, negative = (conditioning([int(label)]) for label in tensors["y"])
        return Recording("dit", settings, [x[:1] for x in tensors["x"]], tensors["t"][:, 0].tolist(), positive, negative, tensors)
    if "fresh_count_cross" in tensors:
        latents = [torch.cos(angle) * tensors["x_a"] + torch.sin(angle) * tensors["x_b"] for angle in tensors["theta"]]
        positive, negative = ([[caption, {}]] for caption in tensors["y"])
        return Recording("pixart", settings, latents, tensors["t"].tolist(), positive, negative, tensors)
    raise SystemExit(f"{io_path} is no recording of a known family (dit, pixart).")


def load_model(recording: Recording, weights: str):
    heads = int(recording.settings["heads"])
    if recording.family == "dit":
        return pack_module("nodes.models.dit_loader").load_dit(weights, "fp32", heads)
    return pack_module("nodes.models.pixart").load_pixart(weights, "fp32", "PixArt-alpha", heads)


def settings_of(recording: Recording):
    """The published preset with what the recording varies, as the node's custom settings."""
    presets, given = pack_module("toca_core.presets"), recording.settings
    if recording.family == "dit" and given["sched"] not in SCHEDULES:
        raise SystemExit(f"The recording follows the schedule {given['sched']!r}; known are {', '.join(SCHEDULES)}.")
    preset = getattr(presets, SCHEDULES[given["sched"]]) if recording.family == "dit" else presets.PIXART
    config = dataclasses.replace(preset, fresh_ratio=float(given["R"]), cycle=int(given["N"]), staleness_weight=float(given["soft"]))
    return pack_module("nodes.patching.settings").Settings("custom", config)


class Feeder(comfy.samplers.Sampler):
    """Calls the model on the recorded inputs in turn."""

    def __init__(self, recording: Recording):
        self.recording = recording

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
        self.compare_output(self.all_channels(tokens[0], x), order)
        self.compare_selection(transformer_options["toca"], order)
        self.step += 1
        return result

    def all_channels(self, tokens, x):
        patch = self.model.patch_size
        size = (x.shape[-2], x.shape[-1]) if self.recording.family == "pixart" else (x.shape[-2] // patch, x.shape[-1] // patch)
        return self.model.unpatchify(tokens, *size)

    def compare_output(self, output, order):
        expected = self.recording.tensors["out"][self.step][order]
        got = output[:, :expected.shape[1]]
        self.max_rel = max(self.max_rel, ((got - expected).norm() / expected.norm()).item())

    def compare_selection(self, run, order):
        full = run.report.steps[-1].kind == "full"
        self.full_step_mismatches += full != bool(self.recording.tensors["is_full"][self.step])
        modules = {"mlp": ""} if self.recording.family == "dit" else {"mlp": "mlp", "cross_attn": "cross"}
        for module, suffix in modules.items():
            counts = self.recording.tensors["fresh_count" + (f"_{suffix}" if suffix else "")][self.step].tolist()
            for block, count in enumerate(counts):
                fresh = None if full else run.last_call.selected.get((module, block))
                got = -1 if full else 0 if fresh is None else fresh.shape[-1]
                self.mask_mismatches += got != count
                self.compare_mask(f"fresh_mask{'' if self.recording.family == 'dit' else '.' + module}.block{block}", fresh, full, order)

    def compare_mask(self, name, fresh, full, order):
        if name not in self.recording.tensors or full:
            return
        expected = self.recording.tensors[name][self.step][order].bool()        # (batch, tokens)
        got = torch.zeros_like(expected)
        if fresh is not None:
            got.scatter_(1, fresh.expand(len(order), -1), True)
        self.mask_mismatches += int((got != expected).sum())


def replay(weights: str, io_path: str) -> dict:
    if replay_vae.is_vae_recording(io_path):
        return replay_vae.replay(weights, io_path)
    recording = read(io_path)
    model = load_model(recording, weights)
    model.add_object_patch("model_sampling", RecordedTimes())
    comparison = Comparison(recording, model.model.diffusion_model)
    model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "replay", comparison)
    model = pack_module("nodes.patching.seam").install(model, settings_of(recording))
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(recording.positive, recording.negative)
    guider.set_cfg(2.0)                                             # anything but 1, so that both conditionings run
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
        print(json.dumps(result))
    else:
        print("\n".join(f"{name:22} {value}" for name, value in result.items()))
    exact = result["max_rel"] <= 1e-4 and not result.get("mask_mismatches") and not result.get("full_step_mismatches")
    sys.exit(0 if exact else 1)
