"""The sampling runs of a calibration, and what is remembered of them."""

import time
from dataclasses import asdict, dataclass, fields, replace

import latent_preview
from PIL import Image

import comfy.sample
import comfy.samplers
import comfy.utils
from comfy.model_sampling import CONST

from ...toca_core.calibration import Point
from ...toca_core.calls.probe import probes
from ...toca_core.checks import ConfigError, Number
from ...toca_core.config import ToCaConfig
from ...toca_core.keep import memory
from ...toca_core.keep.forecast import noise_share
from ...toca_core.predict import need_of
from ...toca_core.quality import IDENTICAL, psnr
from ...toca_core.report import RunReport
from ...toca_core.select.seeding import following
from ..systems import bound_of, system_of
from . import user_files
from .fingerprint import fingerprint, model_parts
from .memory import HostMemory
from .probing import SHARES, Probing, probed
from .seam import check_latent, install, uninstalled
from .settings import Settings

VERSION = 2                     # of what is remembered; another number makes it forgotten
EXPECTED = 5                    # runs per seed, for the progress bar
PREVIEW = 512                   # pixels of a picture's longer side on the node, at most
REMEMBERED: dict = {}               # fingerprint -> what was measured, beside the files
MOST = 1e30                     # of any number in a file


def checked(value, low: float = 0.0) -> float:
    Number(low, MOST)("a number", value)
    return float(value)


def point_of(held: dict) -> Point:
    """A point as its file holds it. Raises ConfigError, or TypeError, for what cannot have been measured."""
    numbers = {name: checked(value, 1e-9) for name, value in held.items() if name != "psnr"}
    psnr = tuple(checked(value, -MOST) for value in held["psnr"])
    if not psnr:
        raise ConfigError("psnr holds no number")
    return Point(**numbers, psnr=psnr)


@dataclass(frozen=True)
class Sampling:
    """What a KSampler is given. latent: the host's LATENT, whose size and batch count."""
    model: object
    positive: list
    negative: list
    latent: dict
    steps: int
    cfg: float
    sampler_name: str
    scheduler: str
    seed: int

    def run(self, model, offset: int = 0, callback=None, last_step: int | None = None):
        """-> (latent (B, C, ...), seconds) of one run with the seed `offset` after the first."""
        start, seed = self.start, following(self.seed, offset)
        noise = comfy.sample.prepare_noise(start, seed, self.latent.get("batch_index"))
        began = time.perf_counter()
        result = comfy.sample.sample(
            model, noise, self.steps, self.cfg, self.sampler_name, self.scheduler, self.positive, self.negative, start,
            noise_mask=self.latent.get("noise_mask"), last_step=last_step, callback=callback, disable_pbar=True, seed=seed)
        return result.float().cpu(), time.perf_counter() - began

    @property
    def start(self):
        """The latent as the model takes it: an empty one is brought to its channels and scale."""
        scales = [self.latent[name] for name in ("downscale_ratio_spacial", "downscale_ratio_temporal") if name in self.latent]
        return comfy.sample.fix_empty_latent_channels(self.model, self.latent["samples"], *scales)

    @property
    def sigmas(self) -> list[float]:
        return comfy.samplers.KSampler(self.model, self.steps, "cpu", self.sampler_name, self.scheduler).sigmas.tolist()


class Calibration:
    """Plain runs, and runs of preset auto at one tolerance or another from the same noise; what is known is not sampled again.

    seeds    how many samplings are compared at each tolerance
    probe    whether modules are probed in the first plain run
    vae      pictures are compared with it, latents without
    known    what was measured, as in its file: "points" by tolerance; where modules were probed, their "sensitivity" and "cost" in FLOPs
    """

    def __init__(self, sampling: Sampling, seeds: int, probe: bool, vae=None):
        self.sampling, self.seeds, self.vae = sampling, seeds, vae
        self.plain = uninstalled(sampling.model)
        diffusion_model = self.plain.get_model_object("diffusion_model")
        self.system, (self.bound, _) = system_of(diffusion_model), bound_of(diffusion_model)
        self.probe = probe = probe and self.bound is not None and "module" in self.bound.layout.levels
        check_latent(self.plain, sampling.start)
        self.references: dict = {}
        self.calls: list = []
        self.done = 0
        probed_calls = len(SHARES) * len(list(probes(self.bound))) if probe else 0
        self.bar = comfy.utils.ProgressBar(EXPECTED * seeds * sampling.steps + probed_calls)
        given = [getattr(sampling, field.name) for field in fields(sampling) if field.name != "model"]
        self.key = fingerprint(VERSION, model_parts(self.plain), sampling.sigmas, given, seeds, vae and model_parts(vae.patcher))
        self.known = REMEMBERED.setdefault(self.key, self.recall())

    def settings(self, preset: str) -> ToCaConfig:
        """Those of preset auto or paper, for this model and run; of a model whose blocks a run would have to find, those without them."""
        config, _ = Settings(preset, ToCaConfig()).resolve(self.system, self.bound, self.steps)
        return config if self.bound is not None else replace(config, level="output")

    @property
    def steps(self) -> int:
        """As the sampler counts them; some schedulers make one more or less than asked for."""
        return len(self.sampling.sigmas) - 1

    @property
    def last_noise(self) -> float:
        """The share of noise at the last step, 0..1."""
        return noise_share(self.sampling.sigmas[-2], isinstance(self.plain.get_model_object("model_sampling"), CONST))

    @property
    def file(self):
        return user_files.folder("calibrations") / f"{self.key}.json"

    def recall(self) -> dict:
        """What an earlier process has measured."""
        held = user_files.read(self.file)
        if held is None:
            return {"points": {}, "sensitivity": {}, "cost": {}}
        try:
            points = [point_of(point) for point in held["points"]]
            sensitivity = {name: [checked(value) for value in blocks] for name, blocks in held["sensitivity"].items()}
            cost = {name: checked(held["cost"][name]) for name in sensitivity}
            return {"points": {point.tolerance: point for point in points}, "sensitivity": sensitivity, "cost": cost}
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            user_files.log.warning("ToCa: %s is passed over, since it holds no calibration (%r)", self.file, error)
            return {"points": {}, "sensitivity": {}, "cost": {}}

    def remember(self):
        try:
            user_files.write(self.file, {**self.known, "points": [asdict(point) for point in self.known["points"].values()]})
        except OSError as error:
            user_files.log.warning("ToCa: a calibration lasts until ComfyUI ends, since %s cannot be written (%s)", self.file, error)

    def progress(self, *_):
        self.done += 1
        self.bar.update_absolute(self.done, max(self.bar.total, self.done + 1))

    def show(self, pictures):
        """The first one, on the node. pictures: (B, H, W, C) or (B, T, H, W, C), 0..1."""
        if self.done and pictures.ndim in (4, 5) and pictures.shape[-1] in (3, 4) and bool(pictures.isfinite().all()):
            picture = pictures[(0,) * (pictures.ndim - 3)][..., :3].clamp(0, 1).mul(255).round().byte()
            self.bar.update_absolute(self.done, self.bar.total, ("JPEG", Image.fromarray(picture.numpy()), PREVIEW))

    def show_latent(self, latent):
        """As the host previews a sampling, where the user has it do so."""
        previewer = latent_preview.get_previewer(self.plain.load_device, self.plain.get_model_object("latent_format"))
        if previewer is not None and self.done and bool(latent.isfinite().all()):
            image = previewer.decode_latent_to_preview_image("JPEG", self.plain.model.process_latent_in(latent))
            self.bar.update_absolute(self.done, self.bar.total, image)

    def reference(self, offset: int):
        """-> (pictures, seconds) of a plain run."""
        if offset not in self.references:
            self.first_calls()                                      # or the first run would be timed with the loading
            shares = SHARES if self.probe and offset == 0 and not self.known["sensitivity"] else ()
            probing = Probing(self.sampling.steps, self.progress, shares)
            latent, seconds = self.sampling.run(probed(self.plain, probing), offset, self.progress)
            pictures = self.pictures(latent)
            if not pictures.isfinite().all():
                raise ConfigError("The uncached pictures hold values that are no finite numbers, with which nothing can be compared; check "
                                  "the model's file, its weight_dtype, and the VAE.")
            self.references[offset] = pictures, seconds - probing.seconds
            if probing.errors:
                self.known.update(sensitivity=probing.sensitivity, cost=probing.cost)
        return self.references[offset]

    def pictures(self, latent):
        """What is compared, (B, ...)."""
        if self.vae is None:
            self.show_latent(latent)
            return latent
        pictures = self.vae.decode(latent).float().cpu()
        self.show(pictures)
        return pictures

    def sensitivity(self) -> dict[str, list[float]]:
        """The error that each stale module of each block makes in the model's output; empty where none is to be probed."""
        if self.probe and not self.known["sensitivity"]:
            self.reference(0)
            self.remember()
        return self.known["sensitivity"] if self.probe else {}

    def point(self, tolerance: float) -> Point:
        """What preset auto does at a tolerance."""
        if tolerance not in self.known["points"]:
            reports: list[RunReport] = []
            decibels: list[float] = []
            plain_seconds = seconds = 0.0
            model = install(self.plain, Settings("auto", ToCaConfig(), tolerance=tolerance), reports.append)
            for offset in range(self.seeds):
                reference, took = self.reference(offset)
                latent, faster = self.sampling.run(model, offset, self.progress)
                peak = 1.0 if self.vae else float(reference.amax() - reference.amin())
                found = psnr(self.pictures(latent), reference, peak).clamp(max=IDENTICAL)
                decibels += found.nan_to_num(0.0).tolist()          # of a picture that is not finite: as unlike as can be
                plain_seconds, seconds = plain_seconds + took, seconds + faster
            speedup = sum(report.plain_flops for report in reports) / sum(report.flops for report in reports)
            cycle = sum(len(report.steps) for report in reports) / sum(report.calls("full") + report.calls("plain") for report in reports)
            self.known["points"][tolerance] = Point(tolerance, speedup, plain_seconds / seconds, cycle, tuple(decibels))
            self.remember()
        return self.known["points"][tolerance]

    # ---- memory ----

    def first_calls(self) -> list[tuple]:
        """What the calls of one evaluation of the model work on; it is run once for that."""
        if not self.calls:
            probing = Probing(self.sampling.steps, shares=())
            replace(self.sampling, sampler_name="euler").run(probed(self.plain, probing), last_step=1)
            self.calls = probing.calls
        return self.calls

    def cache_need(self, config: ToCaConfig) -> memory.Need:
        """Of all conditionings together."""
        itemsize = HostMemory(self.plain.model).itemsize
        return sum((need_of(config, sizes, conds, itemsize, bound) for bound, sizes, conds in self.first_calls()), start=memory.Need())

    def budget(self, gigabytes: float) -> memory.Budget:
        return HostMemory(self.plain.model).budget(gigabytes, self.sampling.start.shape, self.plain.load_device)
