"""The one seam into the host: six wrappers and a callback on a cloned ModelPatcher.

OUTER_SAMPLE makes the state of a run and drops it, PREPARE_SAMPLING tells the host what the cache needs, SAMPLER_SAMPLE asks the sampler
what it will ask for, PREDICT_NOISE counts its evaluations, CALC_COND_BATCH sees which conditionings each takes, APPLY_MODEL answers the
calls (`comfy/patcher_extension.py`). ON_PRE_RUN tells of a guider's second model: it is called in the first one's run, and none of its
own wrappers hears of it. The model itself is never changed.
"""

import math
import time
from contextvars import ContextVar
from functools import partial

from tqdm import tqdm

from comfy.model_sampling import CONST
from comfy.patcher_extension import CallbacksMP, WrappersMP, get_all_wrappers
from comfy_execution.utils import get_executing_context

from ...toca_core.ahead import NoiseLevels
from ...toca_core.levels.base import Run
from ...toca_core.recording import TokenRecord
from ...toca_core.report import RunReport
from ...toca_core.run import SamplingRun
from ...toca_core.schedule import Cycle
from ...toca_core.together import Alone
from ..systems import bound_of, system_of
from ..systems.sizes import patch_of
from . import companions
from .calls import hindrance, parts_of, plain_model, sizes_of
from .conditionings import KEY, Inputs
from .memory import HostMemory, with_room
from .publish import publish, publish_outside, publish_step
from .regions import priority_of, region_of
from .rehearsal import rehearse
from .run_log import LoggedRun, RunLog
from .samplers import is_linear, is_noisy, uncached, unrefined
from .settings import Settings

INPUTS = "toca_inputs"                      # beside the run in the model options: what goes into its calls
WRAPPERS = {WrappersMP.OUTER_SAMPLE: "outer_sample", WrappersMP.PREPARE_SAMPLING: "prepare_sampling",
            WrappersMP.SAMPLER_SAMPLE: "sampler_sample", WrappersMP.PREDICT_NOISE: "predict_noise",
            WrappersMP.CALC_COND_BATCH: "calc_cond_batch", WrappersMP.APPLY_MODEL: "apply_model"}
SAMPLING: ContextVar["Seam | None"] = ContextVar("sampling", default=None)      # whose run it is, while it lasts


def install(model, settings: Settings, on_report=None, on_end=None, node: str | None = None, together=Alone):
    """A clone of a MODEL (ModelPatcher) that caches with these settings; earlier ToCa settings on it are replaced.

    on_report: called with the RunReport of every run; by default it is logged and sent to the front end.
    on_end: called with the SamplingRun of every run that came to its end, and the host's percent_to_sigma.
    node: the id of the ToCa Cache in the prompt.
    together: () -> `together.Together`, where each of several processes computes a part of the same sample.
    """
    model = uninstalled(model)
    Seam(settings, on_report, on_end, node, together).fasten(model)
    return model


def uninstalled(model):
    """A clone of a MODEL without ToCa."""
    model = model.clone()
    loosen(model)
    return model


def loosen(model):
    """Takes ToCa off a MODEL itself."""
    for kind in WRAPPERS:
        model.remove_wrappers_with_key(kind, KEY)
    model.remove_callbacks_with_key(CallbacksMP.ON_PRE_RUN, KEY)


def log_of(model) -> RunLog | None:
    """What the latest runs with a MODEL did, or with any other that has the same ToCa Cache before it; None where there is no such node."""
    wrappers = model.get_wrappers(WrappersMP.OUTER_SAMPLE, KEY)
    return wrappers[-1].__self__.log if wrappers else None


class Seam:
    """The wrappers; they hold settings, and what runs leave to read. The run travels in the run's own copy of the model options."""

    def __init__(self, settings: Settings, on_report=None, on_end=None, node: str | None = None, together=Alone):
        self.settings, self.on_report, self.on_end, self.together = settings, on_report, on_end, together
        self.node, self.log = node, RunLog()

    def fasten(self, model):
        """Onto a MODEL itself; `install` makes a clone first."""
        for kind, name in WRAPPERS.items():
            model.add_wrapper_with_key(kind, KEY, getattr(self, name))
        model.add_callback_with_key(CallbacksMP.ON_PRE_RUN, KEY, self.pre_run)

    def outer_sample(self, executor, noise, latent_image, sampler, sigmas, *args, **kwargs):
        guider = executor.class_obj
        seed = kwargs.get("seed", args[3] if len(args) > 3 else 0)
        options = guider.model_options.setdefault("transformer_options", {})
        noise_mask = kwargs.get("denoise_mask", args[0] if args else None)
        run = self.start(guider.model_patcher, latent_image, sampler, sigmas, seed, options, noise_mask, kwargs.get("latent_shapes"))
        options[KEY], options[INPUTS] = run, Inputs(run.about.noisy)
        sampling = SAMPLING.set(self)
        began = time.perf_counter()
        try:
            with companions.left_out(options) as others:
                if others:
                    run.report.remark(companions.sentence(others))
                samples = executor(noise, latent_image, sampler, *refined(run, sigmas, *args), **kwargs)
            run.about.together.leave(failed=False)
            if self.on_end:
                self.on_end(run, guider.model_patcher.get_model_object("model_sampling").percent_to_sigma)
            return samples
        except BaseException as error:
            run.about.together.leave(failed=True)
            run.report.remark(f"Stopped early by {type(error).__name__}")
            raise
        finally:
            SAMPLING.reset(sampling)
            options.pop(KEY, None)
            options.pop(INPUTS, None)
            run.finish()
            run.report.seconds = time.perf_counter() - began
            self.log.add(LoggedRun(run.id, run.report, run.record.maps()))
            if self.on_report is None:
                publish(run.id, run.report, self.settings.verbose)
            else:
                self.on_report(run.report)

    def pre_run(self, _patcher):
        """A model is about to be called; in a run of its own, `outer_sample` has begun."""
        if SAMPLING.get() is not self:
            publish_outside(self.log.outside(get_executing_context(), alone=SAMPLING.get() is None))

    def start(self, patcher, latent_image, sampler, sigmas, seed, options, noise_mask, latent_shapes=None) -> SamplingRun:
        """Everything that can be refused is refused here, before the model loads."""
        settings, sampling, custom = self.settings, patcher.get_model_object("model_sampling"), self.settings.custom
        diffusion_model = plain_model(patcher.get_model_object("diffusion_model"))
        packed = latent_shapes is not None and len(latent_shapes) > 1
        if not packed:
            check_latent(patcher, latent_image)
        system, (bound, misfit) = system_of(diffusion_model), bound_of(diffusion_model)
        region, masked = region_of(options, noise_mask, latent_image, diffusion_model, custom.mask_dilation)
        config, remarks = settings.resolve(system, bound, len(sigmas) - 1, companions.keeping_state(options), masked)
        report = RunReport(type(diffusion_model).__name__, settings.preset, {})
        for remark in (*([misfit] if misfit else ()), *remarks):
            report.remark(remark)
        about = Run(
            config, Cycle(config), frozenset(), record_of(latent_image, latent_shapes if packed else None, diffusion_model),
            report.remark, seed or 0, is_linear(sampler), is_noisy(sampler), region, masked,
            priority_of(options, latent_image, diffusion_model), bound is not None and bound.layout.refreshes,
            bool(system and system.says_picture and system.says_picture(diffusion_model)), model=report.model,
            unrefined="the sample has parts with noise levels of their own" if packed else unrefined(sampler), together=self.together())
        sigma_range = float(sampling.percent_to_sigma(custom.start_percent)), float(sampling.percent_to_sigma(custom.end_percent))
        return SamplingRun(config, bound and bound.layout, diffusion_model, about, report, sigmas.tolist(), sigma_range,
                           isinstance(sampling, CONST), HostMemory(patcher.model), self.log.begin(self.node, get_executing_context()),
                           (system.plain if system else "") or settings.unmet(about.unrefined) or uncached(sampler, config.watched), bound)

    def prepare_sampling(self, executor, model, noise_shape, conds, *args, **kwargs):
        options = kwargs.get("model_options") or (args[0] if args else None) or {}
        run = options.get("transformer_options", {}).get(KEY)
        if run is not None:
            noise_shape = with_room(run, model, noise_shape, conds)
        return executor(model, noise_shape, conds, *args, **kwargs)

    def sampler_sample(self, executor, guider, sigmas, extra_args, *args, **kwargs):
        run = extra_args["model_options"].get("transformer_options", {}).get(KEY)
        # Processes that compute one sample together would not notice in the same step that a level came otherwise.
        ahead = run is not None and sigmas.device.type == "cuda" and run.about.together.alone and not changes_levels(guider.model_options)
        if run is not None and (run.config.counted or ahead):
            foretold = rehearse(guider, executor.class_obj, sigmas, extra_args.get("seed"))
            run.timeline.foresee(foretold if run.config.counted else ())
            run.noise_levels = NoiseLevels(foretold if ahead else ())
        return executor(guider, sigmas, extra_args, *args, **kwargs)

    def predict_noise(self, executor, x, timestep, model_options={}, seed=None):
        options = model_options.get("transformer_options", {})
        run = options.get(KEY)
        if run is not None:
            options[INPUTS].begin(executor.class_obj.conds, model_options)
            run.begin_evaluation(run.noise_levels.next(timestep), timestep.device)
            if len(run.report.steps) > 1 and self.on_report is None:
                publish_step(run.id, run.report, run.timeline.levels.total)
        return executor(x, timestep, model_options, seed)

    def calc_cond_batch(self, executor, model, conds, x_in, timestep, model_options):
        options = model_options.get("transformer_options", {})
        run = options.get(KEY)
        if run is not None and run.report.steps:
            if "context_window" not in options:
                options[INPUTS].mark(conds)                         # another node may ask for others than the guider's
            sigma = run.report.steps[-1].sigma
            run.memory.conditionings = sum(takes_part(cond, sigma) for group in conds if group is not None for cond in group)
        return executor(model, conds, x_in, timestep, model_options)

    def apply_model(self, executor, x, t, c_concat=None, c_crossattn=None, control=None, transformer_options={}, **kwargs):
        def call(options):
            return executor(x, t, c_concat, c_crossattn, control, options, **kwargs)

        run = transformer_options.get(KEY)
        if run is None or run.step is None:
            return call(transformer_options)
        witness = companions.Witness(executor.class_obj.diffusion_model, transformer_options)
        diffusion_model, arguments = plain_model(executor.class_obj.diffusion_model), {"control": control, **kwargs}
        sizes = sizes_of(diffusion_model, x, c_crossattn, arguments)
        hindered = hindrance(diffusion_model, run.about.region, x, arguments, transformer_options)
        parts = parts_of(diffusion_model, run.moment.sigma, arguments, transformer_options)
        conditionings = transformer_options[INPUTS].of_call(executor.class_obj, x, c_crossattn, {"c_concat": c_concat, **arguments},
                                                            transformer_options)
        return run.call(partial(call, witness.options), diffusion_model, x, sizes, conditionings, hindered, parts,
                        partial(self.witnessed, run, witness))

    def witnessed(self, run, witness) -> bool:
        """Whether the model ran in a call; of a class that never calls such wrappers, and of one that is compiled, that cannot be told."""
        run.witnessed = run.witnessed or witness.ran
        return witness.ran or not run.witnessed


def refined(run: SamplingRun, sigmas, denoise_mask=None, callback=None, disable_pbar=False, *args):
    """The sampler's arguments from its noise levels on, where every step is cut into parts: who watches still counts whole steps."""
    parts = run.config.refine
    if parts == 1:
        return sigmas, denoise_mask, callback, disable_pbar, *args
    bar = tqdm(total=len(sigmas) - 1, disable=disable_pbar)

    def on_step(step, denoised, x, total):
        if step % parts == 0:
            bar.update()
            if callback is not None:
                callback(step // parts, denoised, x, total // parts)
    return sigmas.new_tensor(run.timeline.levels.sigmas), denoise_mask, on_step, True, *args


def record_of(latent_image, shapes, diffusion_model) -> TokenRecord:
    """shapes: of the parts of a packed latent (B, 1, numbers), the first of which is the picture; else None."""
    if shapes is None:
        return TokenRecord(latent_image.shape, patch_of(diffusion_model))
    return TokenRecord((latent_image.shape[0], *shapes[0][1:]), (1, 1, 1), latent_image.shape[-1])


def takes_part(cond: dict, sigma: float) -> bool:
    """Whether a conditioning counts at a noise level; some are for a part of the run (`comfy/samplers.py`, get_area_and_mult)."""
    return cond.get("timestep_end", -math.inf) <= sigma <= cond.get("timestep_start", math.inf)


def changes_levels(model_options: dict) -> bool:
    """Whether another node stands between the sampler and what answers it, where it may ask about other noise levels."""
    return len(get_all_wrappers(WrappersMP.PREDICT_NOISE, model_options, is_model_options=True)) > 1


def check_latent(patcher, latent_image):
    """A latent the model cannot read is refused by name, before sampling."""
    latents = patcher.get_model_object("latent_format")
    expected, given = latents.latent_channels, latent_image.shape[1]
    if given != expected and latent_image.ndim == latents.latent_dimensions + 2:
        raise ValueError(f"The latent has {given} channels, {type(patcher.model.diffusion_model).__name__} works on {expected}; "
                         f"connect an empty latent, or encode the image with the VAE this model was trained with.")
