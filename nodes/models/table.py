"""The model table: which diffusion-model class keeps its modules where. A new sequential model is one row."""

from ...toca_core.families.sequential import SequentialLayout
from .dit import DiT


def patch_grid(model, shape):
    """Token rows and columns of a latent (B, C, H, W); a last, cut patch counts."""
    return -(-shape[-2] // model.patch_size), -(-shape[-1] // model.patch_size)


LAYOUTS = {         # by full name, since several classes are called DiT; as text, so that a host without one still loads the pack
    f"{DiT.__module__}.DiT": SequentialLayout(
        system="dit",
        modules={"self_attn": "attn", "mlp": "mlp"},
        projections={"self_attn": ("qkv",)},
        grid=patch_grid),
    "comfy.ldm.pixart.pixartms.PixArtMS": SequentialLayout(
        system="pixart",
        modules={"self_attn": "attn", "cross_attn": "cross_attn", "mlp": "mlp"},
        projections={"self_attn": ("qkv",), "cross_attn": ("q_linear", "kv_linear")},
        grid=patch_grid,
        per_context=("y_embedder",)),
}


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
        f"(DiT through ToCa Load DiT, PixArt through ToCa Load PixArt or the stock loader), or remove the node.")
