"""ToCa Cache: sample faster by recomputing only the tokens that need it."""

from functools import cache, partial

from comfy_api.latest import io

from ..toca_core.checks import ConfigError
from .host.calls import plain_model
from .host.publish import place_of
from .host.records import RECORDS
from .host.samplers import ONE_CALL
from .host.seam import install
from .host.settings import OF_THE_RUN, PRESETS, SCORES, fit, read
from .host.user_files import preset_file, preset_of, saved_presets, split_preset
from .systems import bound_of, system_of
from .toca_ratios import Ratios
from .widgets import widget

CUSTOM = " Used with preset custom."


class ToCaCache(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ToCaCache",
            display_name="ToCa Cache",
            category="model/patch",
            description="Makes a diffusion model sample faster: on most steps what it computes is forecast from the last steps that it "
                        "computed, or only the tokens that need it are recomputed (token-wise feature caching, ToCa). Put it between the "
                        "model and the sampler.",
            search_aliases=["faster", "speed up", "accelerate", "skip steps", "feature cache", "token cache", "TeaCache", "EasyCache",
                            "加速", "提速", "更快", "跳步"],
            inputs=[
                io.Model.Input("model", tooltip="Any diffusion model."),
                io.Boolean.Input("enable", default=True, optional=True, tooltip="Off: the model passes through untouched."),
                io.Combo.Input("preset", options=list(dict.fromkeys((*PRESETS, *saved_presets()))), default="auto", optional=True,
                               tooltip="auto: whole steps are forecast, as far as the error measured on the way allows; tolerance says "
                                       "how far. quality: nearly as many calls as without it, better placed: in the same time the picture "
                                       "comes nearer to what very many steps give (sampler euler). paper: ToCa's "
                                       "published settings to the letter. custom: the widgets below. Any other was saved with ToCa "
                                       "Calibrate."),
                widget("fresh_ratio", "Share of tokens recomputed on partial steps; the others come from the cache. 0 reuses everything, "
                       "1 caches nothing. (The paper's caching ratio R counts the other way round.)" + CUSTOM),
                widget("cycle", "Distance in steps between full steps, on which every token is recomputed. "
                       "Higher is faster, 1 caches nothing." + CUSTOM),
                widget("mlp_share", "How much of fresh_ratio the MLPs get: "
                       "their share of fresh tokens is fresh_ratio times this." + CUSTOM),
                widget("cross_attn_share", "How much of fresh_ratio cross-attention gets. "
                       "Self-attention is always reused as a whole." + CUSTOM),
                widget("layer_slope", "Shifts fresh tokens between blocks: "
                       "above 0 the first blocks get more, below 0 the last ones." + CUSTOM),
                io.Combo.Input("score", options=["auto", *SCORES], default="auto", optional=True,
                               tooltip="What ranks the tokens. self-attention: those that others attend to most (s1). cross-attention: "
                                       "those least settled on a word (s2). random: the control. auto: cross-attention where the model "
                                       "has it." + CUSTOM),
                widget("step_slope", "Shifts fresh tokens between steps: above 0 early steps get more, below 0 late ones." + CUSTOM),
                widget("cycle_rule", "fixed: a full step every `cycle` steps. multiples: on the steps whose number is a multiple of it. "
                       "dit, pixart: the released schedules, which vary the distance." + CUSTOM),
                widget("staleness_weight", "How strongly tokens that were not recomputed for long are preferred (s3)." + CUSTOM),
                widget("spread_bonus", "Spreads the fresh tokens over the picture: "
                       "the best token of every cell is raised by this share (s4)." + CUSTOM),
                widget("spread_cell", "Side of those cells, in tokens." + CUSTOM),
                widget("start_percent", "Where in the sampling process caching begins; before it every step is computed in full."),
                widget("end_percent", "Where in the sampling process caching ends; after it every step is computed in full."),
                widget("warmup_steps", "Number of full steps at the start." + CUSTOM),
                io.Boolean.Input("verbose", default=False, optional=True, advanced=True, tooltip="Log one line per step."),
                io.String.Input("block_ratios", default="", multiline=True, optional=True, advanced=True,
                                tooltip="Shares of fresh tokens block by block, in place of fresh_ratio, shares and layer_slope: one line "
                                        "per module, such as `mlp: 0.4, 0.3, 0.2`; one number stands for all blocks." + CUSTOM),
                widget("parallel_mlp_share", "How much of fresh_ratio the MLPs of single blocks get (FLUX); "
                       "mlp_share is then that of the double blocks." + CUSTOM),
                widget("cross_attn_cycle", "A cycle of cross-attention's own; 0: as cycle." + CUSTOM),
                widget("mlp_cycle", "A cycle of the MLPs' own; 0: as cycle." + CUSTOM),
                widget("tolerance", "How much error, in percent, skipped steps may add before a full one is due; higher is faster. "
                       "0 skips nothing, 0.1 is hard to tell from the original, 0.8 shows in details. -1: 0.2 with "
                       "preset auto; the fixed cycle with custom, where a tolerance counts at levels stack and output."),
                widget("level", "module: every attention and MLP keeps its output, and the fresh tokens are recomputed (ToCa). "
                       "stack: one change per token stands for all blocks together; fast, and small in memory. "
                       "output: what the model predicts is forecast, whatever model it is. Where a model has no such "
                       "level, the next one is used and the report says so." + CUSTOM),
                widget("stale_tokens", "With level module, what is not recomputed: reuse takes it as it was, forecast continues it "
                       "from the last full steps." + CUSTOM),
                widget("order", "Of forecasts: 0 as at the last full step, 1 along a line through the last two (a little bent at "
                       "level output, over euler), 2 along a parabola through three." + CUSTOM),
                widget("memory_budget", "GB of the model's device that the cache may take. Where it would be larger, it is kept in fewer "
                       "bits, in the host's memory or at a coarser level, or not at all; the log says which. 0: what is "
                       "free there; then it is kept in the host's memory or not at all, and the picture stays the same."),
                widget("cache_device", "Where the cache lies. gpu: beside the model, the fastest. cpu: in the host's memory, brought back "
                       "block by block; for when the graphics card is full."),
                widget("cache_dtype", "In how many bits. same: as the model computes, without loss. bf16: half of float32. fp8: half of "
                       "16-bit, with a scale per token; the picture changes a little."),
                Ratios.Input("ratios", optional=True,
                             tooltip="Shares of fresh tokens block by block, from ToCa Ratios; they go before block_ratios." + CUSTOM),
                widget("calls", "How many calls of the model a run may take, so that its time is known beforehand; they go where "
                       "forecasts err most. It takes the place of tolerance. 0: off.", extra_dict={"one_call": ONE_CALL}),
                widget("speed", "The same as a speed: 2 computes half of the steps, 3 a third. 0: off."),
                widget("refine", "Cuts every step into so many parts, at the same number of calls: the picture comes nearer to what "
                       "very many steps give, and differs from the plain run's. With sampler euler. 1: off."),
            ],
            outputs=[io.Model.Output(tooltip="The model, cached during sampling.")],
            hidden=[io.Hidden.unique_id],
            not_idempotent=True,            # or the host takes one such node's result for another's, and its runs for its own
        )

    @classmethod
    def fingerprint_inputs(cls, preset=None, **inputs):
        """A preset that was saved anew is another input."""
        file = preset_file(split_preset(preset)[0])
        return file.stat().st_mtime_ns if preset not in PRESETS and file.is_file() else None

    @classmethod
    def validate_inputs(cls, preset=None):
        """A preset that this machine does not know comes with its settings, or the prompt is refused before it runs."""
        if preset is None or preset in (*PRESETS, *saved_presets()):
            return True
        try:
            preset_of(preset)
        except ConfigError as error:
            return str(error)
        return True

    @classmethod
    def execute(cls, model, enable=True, preset="auto", ratios=None, **given) -> io.NodeOutput:
        """given: the other widgets, each as it comes where a prompt does not name it; unknown names are left out."""
        if not enable:
            return io.NodeOutput(model)
        if not hasattr(getattr(model, "model", None), "diffusion_model"):
            kind = type(getattr(model, "model", model)).__name__
            raise ValueError(f"ToCa Cache takes a diffusion model, and this is a {kind}: connect the model that goes into the sampler.")
        diffusion_model = plain_model(model.get_model_object("diffusion_model"))
        system, (bound, _) = system_of(diffusion_model), bound_of(diffusion_model)
        widgets = {name: given.get(name, default) for name, default in defaults().items() if name not in ("enable", "preset")}
        settings = read(bound and bound.layout, preset, ratios=ratios, **widgets)
        if settings.preset not in OF_THE_RUN:
            fit(settings.custom, system, bound)
        node = cls.hidden.unique_id if cls.hidden else None
        place = place_of(node)
        RECORDS.loaded(place, type(diffusion_model).__name__, system.name if system else "", bound and bound.costs)
        return io.NodeOutput(install(model, settings, on_end=partial(RECORDS.ran, place), node=node))


@cache
def defaults() -> dict:
    """Every widget of ToCa Cache, as it comes; asked for once, since a schema lists the presets on the disk."""
    return {entry.id: entry.default for entry in ToCaCache.define_schema().inputs if getattr(entry, "default", None) is not None}
