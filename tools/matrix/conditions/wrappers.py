"""What wraps the model's calls: other caches, tiling, context windows, torch.compile, patches of UNets."""

from dataclasses import replace

import comfy_extras.nodes_context_windows as windows
import comfy_extras.nodes_easycache as easycache
import comfy_extras.nodes_freelunch as freelunch
import comfy_extras.nodes_hypertile as hypertile
import comfy_extras.nodes_model_downscale as downscale
import comfy_extras.nodes_tomesd as tomesd
import torch

from tools.matrix.graph import LeftOut, before, behind, condition, output

# ---- other caches ----


def other_cache(graph, name: str, place):
    """Plainly it skips nothing, since ToCa Cache puts it out of action."""
    node = getattr(easycache, name)
    return replace(place(graph, lambda model: output(node.execute(model, 0.2, 0.15, 0.95, False))), reference=graph.model)


@condition("EasyCache before")
def easy_before(graph, subject):
    return other_cache(graph, "EasyCacheNode", before)


@condition("LazyCache before")
def lazy_before(graph, subject):
    return other_cache(graph, "LazyCacheNode", before)


def with_cache_behind(graph, name: str):
    """The node cannot be told apart by the model alone, so the plain run's has a threshold of 0."""
    node, seam = getattr(easycache, name), "toca"

    def after(model):
        carries = any(seam in chains for chains in model.model_options["transformer_options"].get("wrappers", {}).values())
        return output(node.execute(model, 0.2 if carries else 0.0, 0.15, 0.95, False))
    return behind(graph, after)


@condition("EasyCache after")
def easy_after(graph, subject):
    return with_cache_behind(graph, "EasyCacheNode")


@condition("LazyCache after")
def lazy_after(graph, subject):
    return with_cache_behind(graph, "LazyCacheNode")


# ---- wrappers of the model's function ----


def wrapped(graph, wrapper):
    def node(model):
        model = model.clone()
        model.set_model_unet_function_wrapper(wrapper)
        return model
    return before(graph, node)


@condition("a wrapper of the model's function")
def passing(graph, subject):
    return wrapped(graph, lambda apply, given: apply(given["input"], given["timestep"], **given["c"]))


def in_tiles(apply, given, backwards: bool = False):
    """The left half, then the right one; or the other way round."""
    x, halves = given["input"], [0, 1]
    width, answer = x.shape[-1] // 2, torch.zeros_like(x)
    for half in reversed(halves) if backwards else halves:
        part = slice(half * width, (half + 1) * width)
        answer[..., part] = apply(x[..., part].contiguous(), given["timestep"], **given["c"])
    return answer


@condition("tiles")
def tiles(graph, subject):
    return wrapped(graph, in_tiles)


@condition("tiles in turning order")
def tiles_in_turning_order(graph, subject):
    """The tile that comes first on one step comes last on the next."""
    seen = []

    def wrapper(apply, given):
        sigma = float(given["timestep"].flatten()[0])
        if sigma not in seen:
            seen.append(sigma)
        return in_tiles(apply, given, bool(seen.index(sigma) % 2))
    return wrapped(graph, wrapper)


@condition("each conditioning by itself")
def one_by_one(graph, subject):
    """As wrappers do that save memory."""
    def wrapper(apply, given):
        chunks, c = len(given["cond_or_uncond"]), given["c"]
        options = c["transformer_options"]

        def part(value, index):
            return value.chunk(chunks)[index] if isinstance(value, torch.Tensor) and len(value) % chunks == 0 and len(value) else value
        answers = []
        for index, kind in enumerate(given["cond_or_uncond"]):
            own = {**options, "cond_or_uncond": [kind], "uuids": options["uuids"][index:index + 1]}
            answers.append(apply(part(given["input"], index), part(given["timestep"], index),
                                 **{name: part(value, index) for name, value in c.items()} | {"transformer_options": own}))
        return torch.cat(answers)
    return wrapped(graph, wrapper)


# ---- context windows ----


def windowed(graph, subject, schedule: str, frames: int = 6):
    if not subject.video:
        raise LeftOut("windows are of a video's frames")

    def node(model):
        return output(windows.ContextWindowsManualNode.execute(model, 3, 1, schedule, 1, False, "pyramid", 2, False))
    channels, _, height, width = subject.shape
    return replace(before(graph, node), latent=torch.zeros(1, channels, frames, height, width))


for schedule in ("standard_static", "standard_uniform", "looped_uniform"):
    condition(f"context windows, {schedule}")(lambda graph, subject, schedule=schedule: windowed(graph, subject, schedule))


# ---- torch.compile ----


def compiled(model):
    from comfy_api.torch_helpers import set_torch_compile_wrapper
    torch._dynamo.reset()
    model = model.clone()
    set_torch_compile_wrapper(model, backend="eager")
    return model


@condition("TorchCompileModel before", slow=True)
def compiled_before(graph, subject):
    return before(graph, compiled)


@condition("TorchCompileModel after", slow=True)
def compiled_after(graph, subject):
    return behind(graph, compiled)


# ---- patches of UNets ----

UNETS = {
    "FreeU": lambda model: output(freelunch.FreeU_V2.execute(model, 1.3, 1.4, 0.9, 0.2)),
    "HyperTile": lambda model: output(hypertile.HyperTile.execute(model, 64, 2, 0, False)),
    "ToMe": lambda model: output(tomesd.TomePatchModel.execute(model, 0.3)),
    "PatchModelAddDownscale": lambda model: output(downscale.PatchModelAddDownscale.execute(
        model, 1, 2.0, 0.0, 0.35, True, "bicubic", "bicubic")),
}


def of_unets(node):
    def make(graph, subject):
        if subject.name != "sd15":
            raise LeftOut("made for UNets")
        return before(graph, node)
    return make


for name, node in UNETS.items():
    condition(name)(of_unets(node))
