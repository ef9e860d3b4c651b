"""The model table: which diffusion-model class keeps its modules where. A new sequential model is one row."""

from ...toca_core.families.sequential import SequentialLayout


def patch_grid(model, shape):
    """Token rows and columns of a latent (B, C, H, W); a last, cut patch counts."""
    return -(-shape[-2] // model.patch_size), -(-shape[-1] // model.patch_size)


LAYOUTS = {
    "DiT": SequentialLayout(
        system="dit",
        modules={"self_attn": "attn", "mlp": "mlp"},
        projections={"self_attn": ("qkv",)},
        grid=patch_grid),
    "PixArtMS": SequentialLayout(
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
        if kind.__name__ in LAYOUTS:
            return LAYOUTS[kind.__name__]
    raise UnsupportedModel(
        f"ToCa Cache cannot cache {type(diffusion_model).__name__}: its token blocks are not known. "
        f"Connect one of: {', '.join(LAYOUTS)} (DiT through ToCa Load DiT, PixArt through ToCa Load PixArt or the stock loader), "
        f"or remove the node.")
