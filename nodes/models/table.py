"""The model table: which diffusion-model class keeps its modules where. A new model is one row."""

import math

from ...toca_core.families.base import Layout, Sizes
from ...toca_core.families.joint import JointStack
from ...toca_core.families.parallel import ParallelStack
from ...toca_core.families.sequential import SequentialStack
from .dit import DiT
from .stdit3 import STDiT3


def picture_sizes(model, x, context, arguments):
    """A latent (B, C, H, W) in square patches; a last, cut patch counts. Reference pictures are tokens beside the grid."""
    def patches(latent):
        return -(-latent.shape[-2] // model.patch_size), -(-latent.shape[-1] // model.patch_size)

    beside = sum(math.prod(patches(reference)) for reference in arguments.get("ref_latents") or ())
    return Sizes(x.shape[0], (1, *patches(x)), beside, 0 if context is None else context.shape[:-1].numel())


def replaced_attention(options: dict, replacement) -> dict:
    """The host's options, changed so that replacement(run, q, k, v) stands for its attention, which is run(q, k, v)."""
    earlier = options.get("optimized_attention_override")

    def attention(function, q, k, v, *args, **kwargs):
        def run(q, k, v):
            return earlier(function, q, k, v, *args, **kwargs) if earlier else function(q, k, v, *args, **kwargs)

        return replacement(run, q, k, v)

    return {**options, "optimized_attention_override": attention}


def attending_last(args, kwargs, replacement):
    """The arguments of a block that takes the host's options as the last of them."""
    return (*args[:-1], replaced_attention(args[-1], replacement)), kwargs


def attending_named(args, kwargs, replacement):
    """The arguments of a block that takes the host's options by name."""
    return args, {**kwargs, "transformer_options": replaced_attention(kwargs.get("transformer_options", {}), replacement)}


def watch_attention(arguments: dict, seen) -> dict:
    """A block's arguments, changed so that the host's attention calls seen(q, k), (B, heads, N, d), before it runs."""
    def watched(run, q, k, v):
        seen(q, k)
        return run(q, k, v)

    return attending_named((), arguments, watched)[1]


def video_sizes(model, x, context, arguments):
    """A latent (B, C, T, H, W) in patches of frames, rows and columns."""
    grid = tuple(-(-side // patch) for side, patch in zip(x.shape[2:], model.patch_size, strict=True))
    return Sizes(x.shape[0], grid, 0, context.shape[:-1].numel())


def in_frames(sizes):
    return sizes.grid[0], sizes.grid[1] * sizes.grid[2]


def along_time(sizes):
    return sizes.grid[1] * sizes.grid[2], sizes.grid[0]


def stdit3_stack(name, attends):
    return SequentialStack(name=name, path=f"{name}_blocks", attends=attends, mask=1,
                           modules={"self_attn": "attn", "cross_attn": "cross_attn", "mlp": "mlp"},
                           projections={"cross_attn": ("q_linear", "kv_linear")})


FLUX_STACKS = (JointStack("double", "double_blocks", watch_attention, attending_named),
               ParallelStack("single", "single_blocks", watch_attention, attending_named))

LAYOUTS = {         # by full name, since several classes are called DiT; as text, so that a host without one still loads the pack
    f"{DiT.__module__}.DiT": Layout(
        system="dit",
        stacks=(SequentialStack(modules={"self_attn": "attn", "mlp": "mlp"}, projections={"self_attn": ("qkv",)},
                                attending=attending_last),),
        sizes=picture_sizes),
    "comfy.ldm.pixart.pixartms.PixArtMS": Layout(
        system="pixart",
        stacks=(SequentialStack(modules={"self_attn": "attn", "cross_attn": "cross_attn", "mlp": "mlp"},
                                projections={"self_attn": ("qkv",), "cross_attn": ("q_linear", "kv_linear")},
                                norms={"self_attn": "norm1", "mlp": "norm2"}),),
        sizes=picture_sizes,
        per_context=("y_embedder",)),
    f"{STDiT3.__module__}.STDiT3": Layout(
        system="open_sora",
        stacks=(stdit3_stack("spatial", in_frames), stdit3_stack("temporal", along_time)),
        sizes=video_sizes,
        per_context=("y_embedder",)),
    "comfy.ldm.flux.model.Flux": Layout(
        system="flux",
        stacks=FLUX_STACKS,
        sizes=picture_sizes,
        per_token=("img_in", "final_layer.linear"),
        per_context=("txt_in",)),
}

MODULES = {site.name: site.kind for layout in LAYOUTS.values() for stack in layout.stacks for site in stack.sites}     # of all models


class UnsupportedModel(ValueError):
    """The loaded model has no row in the table."""


def layout_of(diffusion_model):
    """The row of a model's class or of the nearest class it derives from."""
    for kind in type(diffusion_model).__mro__:
        name = f"{kind.__module__}.{kind.__qualname__}"
        if name in LAYOUTS:
            return LAYOUTS[name]
    raise UnsupportedModel(
        f"ToCa Cache cannot cache {type(diffusion_model).__name__}: its token blocks are not known. "
        f"Connect one of: {', '.join(name.rpartition('.')[2] for name in LAYOUTS)} "
        f"(through ToCa Load DiT, ToCa Load PixArt and ToCa Load Open-Sora; FLUX and PixArt also through the stock loader), "
        f"or remove the node.")
