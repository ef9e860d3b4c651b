"""A graphics card that is only told of: models at full size whose tensors have a shape, a dtype and a device, and no numbers.

What waits for the device, what lies on two, how much memory is held and how many kernels start is known from the calls alone.
"""

import weakref
from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from unittest.mock import patch

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

import comfy.supported_models
import comfy.utils

from benchmarks import true_models
from tools.pack import pack_module

CARD = "cuda"
BLOCKS = 4
ANSWER, COUNT = 0.01, 400       # to whoever waits for a number, and for a whole one
READS = ("item", "_local_scalar_dense")
NO_KERNEL = ("empty", "empty_like", "new_empty", "empty_strided", "detach")


class Meter(TorchDispatchMode):
    """Counts since it was `reset`: kernels, waits, bytes at most beside those that were there."""

    def __init__(self):
        super().__init__()
        self.live, self.known = 0, {}
        self.reset()

    def reset(self):
        self.kernels, self.waits, self.before, self.most = 0, 0, self.live, self.live

    @property
    def peak(self) -> int:
        return self.most - self.before

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name.split("::")[1]
        if name in READS:
            self.waits += args[0].device.type == CARD
            return ANSWER if args[0].is_floating_point() else COUNT
        result = func(*args, **(kwargs or {}))
        results = [one for one in (result if isinstance(result, (tuple, list)) else [result]) if isinstance(one, torch.Tensor)]
        new = [self.track(one) for one in results if lies_there(one)]
        self.kernels += (any(new) or name.endswith("_")) and name not in NO_KERNEL
        self.waits += bool(results) and not new and any(map(lies_there, args))
        return result

    def track(self, tensor) -> bool:
        """-> whether its memory is new."""
        storage = tensor.untyped_storage()
        if storage._cdata in self.known:
            return False
        self.known[storage._cdata] = size = storage.nbytes()
        self.live += size
        self.most = max(self.most, self.live)
        weakref.finalize(storage, self.freed, storage._cdata)
        return True

    def freed(self, key):
        self.live -= self.known.pop(key)


def lies_there(value) -> bool:
    return isinstance(value, torch.Tensor) and value.device.type == CARD


def attention(_function, q, k, v, heads, *_args, skip_reshape=False, skip_output_reshape=False, **_kwargs):
    """The shape of what a fused kernel gives; which one the host would take depends on the card."""
    batch, heads, tokens, width = q.shape if skip_reshape else (q.shape[0], heads, q.shape[1], q.shape[2] // heads)
    return q.new_empty(batch, heads, tokens, width) if skip_output_reshape else q.new_empty(batch, tokens, heads * width)


@dataclass(frozen=True)
class Full:
    """A model at its published width. `shape` is that of the latent, of all parts where it has several; `extra` goes into its calls.

    Blocks are as many as are needed to tell: nothing that is counted between full steps depends on them.
    """
    make: Callable
    shape: tuple
    text: tuple[int, int]
    extra: Callable = dict

    @property
    def shapes(self) -> list[tuple]:
        return [self.shape] if isinstance(self.shape[0], int) else [*self.shape]


def hunyuan_video():
    return comfy.supported_models.HunyuanVideo(dict(
        image_model="hunyuan_video", in_channels=16, out_channels=16, patch_size=[1, 2, 2], hidden_size=3072, context_in_dim=4096,
        vec_in_dim=768, mlp_ratio=4.0, num_heads=24, depth=BLOCKS, depth_single_blocks=2 * BLOCKS, axes_dim=[16, 56, 56], theta=256,
        qkv_bias=True, guidance_embed=True, byt5=False, meanflow=False, use_cond_type_embedding=False, vision_in_dim=None,
        meanflow_sum=False))


def ltx2():
    return comfy.supported_models.LTXAV(dict(
        image_model="ltxav", attention_head_dim=128, num_attention_heads=32, cross_attention_dim=4096, num_layers=BLOCKS,
        caption_channels=3840, cross_attention_adaln=True, apply_gated_attention=True, caption_proj_before_connector=True,
        connector_attention_head_dim=128, connector_num_attention_heads=32, audio_connector_attention_head_dim=64,
        audio_connector_num_attention_heads=32))


def on_card(*shape, dtype=torch.bfloat16):
    return torch.empty(shape, dtype=dtype, device=CARD)


def guided():
    return {"y": on_card(1, 768), "guidance": on_card(1, dtype=torch.float32)}


MODELS = {
    "flux": Full(lambda: true_models.flux(BLOCKS), (1, 16, 128, 128), (512, 4096), guided),
    "wan": Full(lambda: true_models.wan(BLOCKS), (1, 16, 21, 90, 160), (512, 4096)),
    "qwen_image": Full(lambda: true_models.qwen_image(BLOCKS), (1, 16, 1, 128, 128), (128, 3584)),
    "hunyuan_video": Full(hunyuan_video, (1, 16, 33, 90, 160), (256, 4096), guided),
    "ltx2": Full(ltx2, ((1, 128, 16, 22, 40), (1, 8, 126, 16)), (1024, 6144), lambda: {"frame_rate": 25}),
}


@dataclass
class Counted:
    """Of one evaluation; `peak` is in bytes beside what lay on the card before the run began."""
    kind: str
    kernels: int
    peak: int
    held: int
    waits_before: int               # for what earlier steps found
    waits: int


@dataclass
class Run:
    plain: Counted
    report: object
    need: object                    # `keep.memory.Need` as predicted
    steps: list[Counted] = field(default_factory=list)

    def of(self, kind: str) -> list[Counted]:
        return [step for step in self.steps if step.kind == kind]


class Roomy:
    """A card with room for everything."""
    itemsize = 2

    def budget(self, *_):
        return pack_module("toca_core.keep.memory").Budget(1e15, 1e15)


@contextmanager
def card():
    """-> a Meter; whatever is made on the card in there is only told of. Random numbers come from the CPU's generator."""
    kinds = [pack_module(f"toca_core.select.{name}") for name in ("selection", "regions")]
    with FakeTensorMode(), torch.inference_mode(), Meter() as meter, ExitStack() as patched:
        for kind in kinds:
            patched.enter_context(patch.object(kind, "generator", lambda device, seed: torch.Generator()))
        yield meter


def made(full: Full):
    """The host's own model (BaseModel)."""
    config = full.make()
    config.set_inference_dtype(torch.bfloat16, None)
    return config.get_model({}, "", device=torch.device(CARD))


def run(meter: Meter, name: str, steps: int, config, **about) -> Run:
    """A model of the host sampled with Euler's step, call by call as the host's sampler would; `config` are ToCa Cache's settings.

    about: what else the run is told (`levels.base.Run`)
    """
    core = {part: pack_module(f"toca_core.{part}") for part in ("run", "levels.base", "schedule", "report")}
    systems, calls = pack_module("nodes.systems"), pack_module("nodes.host.calls")
    full = MODELS[name]
    model = made(full)
    parts = [on_card(*shape, dtype=torch.float32) for shape in full.shapes]
    packed, shapes = comfy.utils.pack_latents(parts) if len(parts) > 1 else (parts[0], None)
    arguments = {**full.extra(), **({"latent_shapes": shapes} if shapes else {})}
    text, sigma = on_card(1, *full.text), on_card(1, dtype=torch.float32)
    options = {"optimized_attention_override": attention, "cond_or_uncond": [0], "uuids": [1]}

    def call():
        return model._apply_model(packed, sigma, None, text, None, dict(options), **arguments)

    inner = model.diffusion_model
    system, (bound, misfit) = systems.system_of(inner), systems.bound_of(inner)
    assert system is not None and not misfit
    report = core["report"].RunReport(type(inner).__name__, "auto", {})
    record = pack_module("nodes.host.seam").record_of(packed, shapes, inner)
    told = core["levels.base"].Run(config, core["schedule"].Cycle(config), frozenset(), record, report.remark, linear=True, **about)
    sigmas = [1 - index / steps for index in range(steps + 1)]
    sampling = core["run"].SamplingRun(config, bound and bound.layout, inner, told, report, sigmas, flow=True, host_memory=Roomy(),
                                       bound=bound)
    sizes = calls.sizes_of(inner, packed, text, arguments)
    start = meter.live
    meter.reset()
    call()
    result = Run(Counted("plain", meter.kernels, meter.peak, 0, 0, meter.waits), report, sampling.foreseen(sizes, 1))
    for sigma_now in sigmas[:-1]:
        meter.reset()
        sampling.begin_evaluation(sigma_now)
        before = meter.waits
        meter.reset()
        sampling.call(call, inner, packed, sizes, parts=calls.parts_of(inner, sigma_now, arguments, options))
        result.steps.append(Counted(report.steps[-1].kind, meter.kernels, meter.most - start, meter.live - start, before, meter.waits))
    return result
