"""The settings of ToCa Cache that the matrix tries, each with the error that it may make."""

from dataclasses import dataclass, field
from typing import Any

from tools.pack import pack_module

STEPS_IN_A_CYCLE = 2
LEVELS = ("module", "stack", "output")


@dataclass(frozen=True)
class Setting:
    """
    most    the largest distance from the plain result, as a share of the distance from there to another seed's; random weights change
            wildly from step to step, so these are far above what real models show, and far below 1, which is any other picture
    """
    preset: str
    most: float
    tolerance: float | None = None
    config: dict[str, Any] = field(default_factory=dict)

    def install(self, model, reports: list):
        return install(model, reports, self.preset, self.tolerance, **self.config)


SETTINGS = {
    "auto": Setting("auto", 0.3, tolerance=2.0),
    "paper": Setting("paper", 0.5),
    "module": Setting("custom", 0.5, config={"level": "module", "cycle": STEPS_IN_A_CYCLE, "fresh_ratio": 0.3, "mlp_share": 1.6}),
    "stack": Setting("custom", 0.5, config={"level": "stack", "cycle": STEPS_IN_A_CYCLE}),
    "output": Setting("custom", 0.5, config={"level": "output", "cycle": STEPS_IN_A_CYCLE}),
}

# What has to give the plain result bit for bit. The last ones keep and measure everything, and skip nothing.
EXACT = {
    "tolerance 0": Setting("auto", 0.0, tolerance=0.0),
    "fresh_ratio 1": Setting("custom", 0.0, config={"level": "module", "fresh_ratio": 1.0}),
    **{f"warm-up only, level {level}": Setting("custom", 0.0, config={"level": level, "warmup_steps": 1000, "repayment": 0.0})
       for level in LEVELS},
}


def install(model, reports: list, preset: str, tolerance: float | None = None, **config):
    """A clone of a MODEL with ToCa Cache on it, whose reports go to a list."""
    seam, settings = pack_module("nodes.host.seam"), pack_module("nodes.host.settings")
    systems, core = pack_module("nodes.systems"), pack_module("toca_core.config")
    plain = pack_module("nodes.host.calls").plain_model(model.get_model_object("diffusion_model"))
    system = systems.system_of(plain)
    score = settings.score_of("auto", system.layout if system else None)
    return seam.install(model, settings.Settings(preset, core.ToCaConfig(score=score, **config), tolerance=tolerance), reports.append)
