"""How many tokens a model makes of a latent, read from the model and from what it is called with."""

import math

from ...toca_core.costs.account import Sizes


def patch_of(diffusion_model) -> tuple[int, int, int]:
    """(frames, rows, columns) of a latent that make one token; 1 where a model does not say."""
    patch = getattr(diffusion_model, "patch_size", getattr(diffusion_model, "patch", None))
    if patch is None:
        side = getattr(diffusion_model, "patch_spatial", 1)
        patch = (getattr(diffusion_model, "patch_temporal", 1), side, side)
    if isinstance(patch, int):
        return 1, patch, patch
    if not isinstance(patch, (tuple, list)) or not all(isinstance(side, int) for side in patch):
        return 1, 1, 1
    return ((1, 1, 1)[len(patch):] + tuple(patch))[-3:]


def grid_of(diffusion_model, shape) -> tuple[int, int, int]:
    """The tokens (frames, rows, columns) of a latent (B, C, [[frames,] rows,] columns); a last, cut patch counts."""
    sides = (1, 1, *shape[2:])[-3:]
    return tuple(-(-side // patch) for side, patch in zip(sides, patch_of(diffusion_model), strict=True))


def latent_sizes(model, x, context, arguments) -> Sizes:
    """Of any latent; reference pictures are tokens beside the grid."""
    beside = sum(math.prod(grid_of(model, reference.shape)) for reference in arguments.get("ref_latents") or ())
    return Sizes(x.shape[0], grid_of(model, x.shape), beside, 0 if context is None else context.shape[:-1].numel(), numbers=x.numel())


def joined_sizes(model, x, context, arguments) -> Sizes:
    """Of a model whose picture lies in one stream with its text."""
    sizes = latent_sizes(model, x, context, arguments)
    return Sizes(sizes.batch, sizes.grid, sizes.beside, sizes.context, sizes.context_each, sizes.numbers)
