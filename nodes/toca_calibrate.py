"""ToCa Calibrate: the settings that reach a target, measured on a few short samplings."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from comfy.samplers import SAMPLER_NAMES, SCHEDULER_NAMES
from comfy_api.latest import io

from ..toca_core import calibration
from ..toca_core.checks import ConfigError, Number
from ..toca_core.config import ToCaConfig
from ..toca_core.keep import memory
from .calibration_picture import curve, picture, sizes
from .choices import check_choices
from .host import user_files
from .host.calibrating import Calibration, Sampling
from .host.samplers import ONE_CALL
from .host.seam import install
from .host.settings import PRESETS, Settings


class ToCaCalibrate(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ToCaCalibrate",
            display_name="ToCa Calibrate",
            category="model/patch",
            description="Finds the settings of ToCa Cache that reach a target, such as 2.5x or PSNR >= 35, by a few samplings with your "
                        "own model, prompt and sampler; and measures how sensitive each block is. The model that comes out is cached.",
            search_aliases=["tune", "speed up", "quality", "PSNR", "benchmark", "preset", "ratios"],
            inputs=[
                io.Model.Input("model", tooltip="The model. If it has a ToCa Cache, its settings are replaced."),
                io.Conditioning.Input("positive", tooltip="A prompt like those that you will use."),
                io.Conditioning.Input("negative", tooltip="The negative prompt, as for the sampler."),
                io.Latent.Input("latent", tooltip="Of the size and batch that you will use; every picture of the batch is measured."),
                io.String.Input("target", default="2.5x", optional=True,
                                tooltip="What to reach. 2.5x: 2.5 times fewer FLOPs. PSNR >= 35, or 35 dB: likeness to the uncached "
                                        "picture. 10 calls: of the model in a run. within 6 GB: memory of the cache."),
                io.Int.Input("steps", default=20, min=1, max=10000, optional=True, tooltip="The number of steps that you will use."),
                io.Float.Input("cfg", default=4.0, min=0.0, max=100.0, step=0.1, round=0.01, optional=True,
                               tooltip="The guidance that you will use."),
                io.Combo.Input("sampler_name", options=list(SAMPLER_NAMES), default="euler", optional=True,
                               tooltip="The sampler that you will use."),
                io.Combo.Input("scheduler", options=list(SCHEDULER_NAMES), default="simple", optional=True,
                               tooltip="The scheduler that you will use."),
                io.Int.Input("first_seed", default=0, min=0, max=0xffffffffffffffff, optional=True,
                             tooltip="Seed of the first sampling; the next ones count up from it."),
                io.Int.Input("effort", default=2, min=1, max=64, optional=True,
                             tooltip="How many times the whole batch is sampled for each setting that is tried. More takes longer, and "
                                     "says more about other pictures."),
                io.String.Input("save_as", default="", optional=True,
                                tooltip="Name under which ToCa Cache lists the result among its presets; empty: it is not saved."),
                io.Boolean.Input("sensitivity", default=True, optional=True, advanced=True,
                                 tooltip="Measure how far off the output is when one module of one block is reused, for the output "
                                         "ratios. It takes three calls of the model for every module of every block."),
                io.Vae.Input("vae", optional=True, tooltip="With it, likeness is measured on the pictures; without it, on the latents."),
            ],
            outputs=[
                io.Model.Output(tooltip="The model, cached with the settings found."),
                io.Custom("TOCA_RATIOS").Output(display_name="ratios",
                                                tooltip="Shares of fresh tokens by module and block, for level module; empty where "
                                                        "sensitivity was not measured."),
                io.Float.Output(display_name="tolerance", tooltip="The tolerance found, for preset auto of ToCa Cache."),
                io.Int.Output(display_name="cycle", tooltip="The mean distance in steps between full steps."),
                io.Image.Output(display_name="curve", tooltip="All that was tried, what was chosen, and the blocks' sensitivity."),
                io.String.Output(display_name="text", tooltip="The result in words."),
            ],
        )

    @classmethod
    def execute(cls, model, positive, negative, latent, target="2.5x", steps=20, cfg=4.0, sampler_name="euler", scheduler="simple",
                first_seed=0, effort=2, save_as="", sensitivity=True, vae=None, **_) -> io.NodeOutput:
        check_choices(cls, sampler_name=sampler_name, scheduler=scheduler)
        Number(0, 100)("cfg", cfg)
        target = calibration.parse_target(target)
        save_as = save_as.strip() and user_files.check_name("save_as", save_as.strip(), PRESETS)
        sampling = Sampling(model, positive, negative, latent, steps, cfg, sampler_name, scheduler, first_seed)
        runs = Calibration(sampling, effort, sensitivity and target.kind != "memory", vae)
        if target.kind == "calls" and sampler_name not in ONE_CALL:
            raise ConfigError(f"target is {target}, but {sampler_name} may ask the model more than once a step; give a speed such as 2x.")
        target = calibration.as_speed(target, runs.steps)
        chosen = within(runs, target) if target.kind == "memory" else reaching(runs, target)
        ratios = ratios_of(runs)
        words = [*chosen.words, *(f"{name}: {', '.join(map('{:.3g}'.format, values))}" for name, values in ratios)]
        if save_as:
            user_files.save_preset(save_as, chosen.config)
            words.append(f"Saved as preset {save_as} of ToCa Cache.")
        return io.NodeOutput(install(model, Settings("auto", chosen.widgets, tolerance=chosen.config.tolerance)), ratios,
                             chosen.config.tolerance, chosen.cycle, picture(chosen.draw, runs.sensitivity()), "\n".join(words))


@dataclass(frozen=True)
class Chosen:
    """config: of preset auto, for any number of steps, as a preset file holds it; widgets: what of it ToCa Cache is told beside the
    tolerance."""
    config: ToCaConfig
    widgets: ToCaConfig
    cycle: int
    draw: Callable
    words: list[str]


def reaching(runs: Calibration, target: calibration.Target) -> Chosen:
    """The tolerance that reaches a speed or a likeness."""
    sampling, auto = runs.sampling, runs.settings("auto")
    if sampling.sampler_name in ONE_CALL:
        full = calibration.fewest_full(auto, runs.steps, runs.last_noise)
        fastest = runs.steps / full
        if full == runs.steps or target.kind == "speed" and fastest < target.value:
            raise ConfigError(f"target is {target}, but of {runs.steps} steps at least {full} are computed in full, which leaves "
                              f"{fastest:.3g}x at most; set a lower target, or more steps.")
    points = calibration.search(runs.point, target)
    best = calibration.nearest(points, target)
    return Chosen(replace(auto, tolerance=best.tolerance, max_gap=0), ToCaConfig(), round(best.cycle),
                  partial(curve, points=points, target=target, chosen=best), told(runs, target, points, best))


def told(runs: Calibration, target, points, best) -> list[str]:
    sampling, other = runs.sampling, "" if len(best.psnr) == 1 else f", give or take {best.uncertainty:.1f} dB for other pictures"
    words = [f"Target {target}, {runs.steps} steps of {sampling.sampler_name}, {sampling.scheduler}: tolerance {best.tolerance:g}.",
             f"{best.speedup:.2f}x fewer FLOPs, {best.wall:.2f}x faster; PSNR of the {'pictures' if runs.vae else 'latents'} "
             f"{best.mean:.1f} dB in the mean{other}, {min(best.psnr):.1f} dB at worst, of {len(best.psnr)}.",
             f"A full step every {best.cycle:.1f} steps."]
    if not best.meets(target):
        words.append("The target was not reached: this is the nearest that was found.")
    return [*words, "tolerance   FLOPs    wall     PSNR", *(
        f"{point.tolerance:<9g}   {point.speedup:.2f}x    {point.wall:.2f}x    {point.mean:.1f} dB" for point in points)]


def within(runs: Calibration, target: calibration.Target) -> Chosen:
    """Preset auto, in the largest form of its cache that the target has room for."""
    auto, budget = runs.settings("auto"), runs.budget(target.value)
    config, why = memory.choose(auto, runs.cache_need, budget)
    forms = {form: runs.cache_need(wanted).total for wanted in (runs.settings("paper"), auto)
             for form, wanted in forms_of(wanted)}
    if config is None:
        raise ConfigError(f"target is {target}, but the smallest cache takes {memory.readable(min(forms.values()))}; give at least that.")
    widgets = ToCaConfig(memory_budget=target.value, cache_device=config.cache_device, cache_dtype=config.cache_dtype)
    words = [f"Target {target}: {form_of(config)}, {memory.readable(forms[form_of(config)])}.", *filter(None, [why]),
             *(f"{form}: {memory.readable(size)}" for form, size in forms.items())]
    return Chosen(replace(config, memory_budget=target.value, max_gap=0), widgets, config.cycle,
                  partial(sizes, needs=list(forms.items()), limit=budget.limit(config), chosen=form_of(config)), words)


def forms_of(config: ToCaConfig):
    """(words, settings) of a cache and of what takes less than it."""
    for one in (config, *(other for other, _ in memory.alternatives(config, False) if other.level == config.level)):
        yield form_of(one), one


def form_of(config: ToCaConfig) -> str:
    order = f", order {config.order}" if config.level == "stack" else ""
    return f"level {config.level}{order}, {config.cache_dtype}"


def ratios_of(runs: Calibration) -> tuple:
    """Shares of fresh tokens by sensitivity, of the published settings' mean; for the modules that have fresh tokens."""
    if runs.bound is None:
        return ()
    kinds = {site.name: site.kind for site in runs.bound.depths if site.kind != "self_attn"}
    errors = {name: blocks for name, blocks in runs.sensitivity().items() if name in kinds}
    if not errors:
        return ()
    paper, cost = runs.settings("paper"), runs.known["cost"]
    weight = {name: cost[name] * len(blocks) for name, blocks in errors.items()}
    mean = paper.fresh_ratio * sum(weight[name] * paper.share_of(kinds[name]) for name in errors) / sum(weight.values())
    return calibration.ratios_by_sensitivity(errors, cost, mean)
