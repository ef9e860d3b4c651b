"""What some devices lack is not asked for there: operators and number formats that MPS has not in torch before 2.9."""

from types import SimpleNamespace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import comfy.samplers
from comfy.patcher_extension import WrappersMP

from tools.pack import pack_module

LACKING = ("avg_pool3d", "max_pool3d_with_indices", "adaptive_max_pool3d", "adaptive_avg_pool3d", "_linalg_solve_ex", "histc")
FORMATS = (torch.float64, torch.float8_e4m3fn, torch.float8_e5m2)


class Mps(TorchDispatchMode):
    """Refuses as that device does."""

    def __init__(self, formats=FORMATS):
        super().__init__()
        self.formats = formats

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name.split("::")[1]
        if name in LACKING:
            raise NotImplementedError(f"The operator 'aten::{name}.out' is not currently implemented for the MPS device.")
        result = func(*args, **(kwargs or {}))
        for one in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(one, torch.Tensor) and one.dtype in self.formats:
                raise TypeError(f"Trying to convert {one.dtype} to the MPS backend but it does not have support for that dtype.")
        return result


@pytest.mark.parametrize("settings", [
    {"level": "module"}, {"level": "module", "score": "random", "stale_tokens": "forecast"}, {"level": "module", "spread_bonus": 0.4},
    {"level": "stack", "tolerance": 5.0}, {"level": "stack", "refresh_ratio": 0.2}, {"level": "stack", "order": 2},
    {"level": "output", "tolerance": 5.0}, {"level": "output", "calls": 5}, {"level": "output", "refine": 3, "tolerance": 5.0}],
    ids=lambda settings: " ".join(map(str, settings.values())))
def test_nothing_is_asked_that_mps_lacks(subject, cached, settings):
    formats = FORMATS if subject.name != "flux" else ()             # FLUX's positions the host reckons in float64 where there is that

    def on_the_way(executor, *args, **kwargs):
        with Mps(formats):
            return executor(*args, **kwargs)

    model, reports = cached(subject, **settings)
    model = model.clone()
    model.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, "mps", on_the_way)
    subject.sample(model, steps=10)
    assert not reports[0].calls("plain")


def test_that_there_is_no_fp8_is_known_before_anything_is_kept(pack):
    memory, storage = pack_module("toca_core.keep.memory"), pack_module("toca_core.keep.storage")
    storage.has_fp8.cache_clear()
    with Mps():
        assert not storage.has_fp8(torch.device("cpu"))
        plan, wanted = memory.MemoryPlan(None), pack.config.ToCaConfig(cache_dtype="fp8")
        plan.open(wanted, torch.zeros(1, 4, 8, 8), pack_module("toca_core.together").Alone())
    storage.has_fp8.cache_clear()
    assert storage.has_fp8(torch.device("cpu"))
    chosen, why = plan.choose(wanted, lambda _: memory.Need(1))
    assert chosen.cache_dtype == "bf16" and why == memory.NO_FP8


def test_the_device_refuses():
    values = torch.rand(1, 1, 4, 4, 4)
    with Mps(), pytest.raises(NotImplementedError, match="avg_pool3d"):
        torch.nn.functional.avg_pool3d(values, 2)
    with Mps(), pytest.raises(TypeError, match="float64"):
        values.double()


@pytest.mark.parametrize("where, counted, other, alone, foretold, planned", [
    ("cuda", False, False, True, 4, 0), ("cuda", True, False, True, 4, 4), ("cuda", False, True, True, None, 0),
    ("cuda", True, True, True, 0, 4), ("cuda", True, False, False, 0, 4), ("cpu", True, False, True, 0, 4),
    ("cpu", False, False, True, None, 0)])
def test_noise_levels_are_foretold_on_a_card_where_no_other_node_may_change_them(where, counted, other, alone, foretold, planned):
    """And where one process decides. What a plan is made from is another matter: it looks at each level before it goes by it."""
    seam, timeline = pack_module("nodes.host.seam"), pack_module("toca_core.timeline").Timeline([1.0, 0.75, 0.5, 0.25, 0.0])
    levels = torch.tensor([1.0, 0.75, 0.5, 0.25, 0.0])
    wrappers = {WrappersMP.PREDICT_NOISE: {"toca": [print], **({"other": [print]} if other else {})}}
    run = SimpleNamespace(config=SimpleNamespace(counted=counted), timeline=timeline, noise_levels=None,
                          about=SimpleNamespace(together=SimpleNamespace(alone=alone)))
    options = {"transformer_options": {seam.KEY: run, "wrappers": wrappers}}

    class Executor:
        class_obj = comfy.samplers.sampler_object("euler")

        def __call__(self, guider, sigmas, extra_args):
            return "sampled"
    sigmas = SimpleNamespace(device=torch.device(where), detach=lambda: levels)
    guider = SimpleNamespace(model_options=options)
    assert seam.Seam.sampler_sample(None, Executor(), guider, sigmas, {"model_options": options, "seed": 1}) == "sampled"
    assert (run.noise_levels and len(run.noise_levels.foretold)) == foretold and len(timeline.known) == planned
