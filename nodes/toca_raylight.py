"""ToCa Cache for Raylight: the same cache where several graphics cards compute one picture."""

from comfy_api.latest import io

from .choices import check_choices
from .host.raylight import cached
from .host.settings import read
from .toca_cache import ToCaCache

PRESETS = ("auto", "quality")
SHARED = ("tolerance", "calls", "speed", "refine", "start_percent", "end_percent")      # inputs that are ToCa Cache's own


class ToCaCacheRaylight(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        own = {entry.id: entry for entry in ToCaCache.define_schema().inputs}
        return io.Schema(
            node_id="ToCaCacheRaylight",
            display_name="ToCa Cache (Raylight)",
            category="model/patch",
            description="ToCa Cache for Raylight's workers, where several graphics cards compute one picture: what the model predicts is "
                        "forecast on most steps, and all workers skip the same ones. Put it between Raylight's model loader and its "
                        "sampler.",
            search_aliases=["faster", "speed up", "multi GPU", "Ray"],
            inputs=[
                io.Custom("RAY_ACTORS").Input("ray_actors", tooltip="From Raylight's model loader, or from a node after it."),
                io.Combo.Input("preset", options=list(PRESETS), default="auto", optional=True,
                               tooltip="auto: whole steps are forecast, as far as the error measured on the way allows; tolerance says how "
                                       "far. quality: nearly as many calls as without it, better placed (sampler euler)."),
                io.Boolean.Input("enable", default=True, optional=True, tooltip="Off: the workers pass through untouched."),
                *(own[name] for name in SHARED),
            ],
            outputs=[io.Custom("RAY_ACTORS").Output("ray_actors", tooltip="The workers, which cache while they sample.")],
        )

    @classmethod
    def execute(cls, ray_actors, enable=True, preset="auto", **given) -> io.NodeOutput:
        """given: the other widgets; unknown names are left out."""
        if not enable:
            return io.NodeOutput(ray_actors)
        if not (isinstance(ray_actors, dict) and ray_actors.get("workers")):
            raise ValueError(f"ToCa Cache (Raylight) takes the workers of Raylight's model loader, and this is "
                             f"{type(ray_actors).__name__}: connect its ray_actors.")
        check_choices(cls, preset=preset)
        widgets = {"preset": preset, **{name: given[name] for name in SHARED if name in given}}
        read(None, **widgets)                                       # what is wrong with them is said here, not by a worker
        return io.NodeOutput(cached(ray_actors, widgets))
