"""Flux and what is built on it: Kontext, Fill, Schnell, Flux2, LongCat, Ovis, Chroma, Chroma Radiance."""

import torch

from tools.zoo.building import Tiny, build, random, text, tiny

FLUX = "comfy.ldm.flux.model.Flux"
SIZES = dict(in_channels=16, out_channels=16, vec_in_dim=16, context_in_dim=32, hidden_size=64, mlp_ratio=2.0, num_heads=2, depth=2,
             depth_single_blocks=3, axes_dim=[8, 12, 12], theta=10000, patch_size=2, qkv_bias=True, txt_ids_dims=[])
PICTURE = (16, 16, 16)
ODD = (16, 15, 11)


def conditioned(width: int, picture: tuple[int, ...] | None = None, /, **more):
    """
    A `Tiny.conditioning`: text, what `more` has (a function is called with the number of tokens and the side's seed), and on request a
    reference picture of this shape.
    """
    def side(tokens, seed, reference):
        extra = {name: value(tokens, seed) if callable(value) else value for name, value in more.items()}
        if reference:
            extra["reference_latents"] = [random(1, *picture)]
        return [[text(tokens, width, seed)[0][0], extra]]
    return lambda tokens=7, negative=7, reference=False: (side(tokens, 1, reference), side(negative, 2, reference))


def mask(tokens: int, seed: int):
    """An attention mask under which all tokens count."""
    return torch.ones(1, tokens, dtype=torch.long)


def pooled(width: int):
    """A text as one vector."""
    return lambda tokens, seed: random(1, width, seed=seed)


def flux_like(config: str, reference: bool = False, extra: dict | None = None, **sizes) -> Tiny:
    vector = dict(pooled_output=pooled(16)) if sizes.get("vec_in_dim", 16) else {}
    conditioning = conditioned(32, (16, 12, 16) if reference else None, **vector, **(extra or {}))
    return Tiny(build(config, {**SIZES, **sizes}), conditioning, PICTURE, ODD, reference)


@tiny(of=FLUX)
def flux():
    return flux_like("Flux", guidance_embed=True, extra=dict(guidance=3.5))


@tiny(of=FLUX)
def flux_kontext():
    return flux_like("Flux", reference=True, guidance_embed=True, extra=dict(guidance=2.5))


@tiny(of=FLUX)
def flux_fill():
    inpainting = dict(concat_latent_image=random(1, 16, 16, 16), concat_mask=torch.ones(1, 1, 128, 128))
    return flux_like("FluxInpaint", guidance_embed=True, in_channels=96, extra=inpainting)


@tiny(of=FLUX)
def flux_schnell():
    return flux_like("FluxSchnell", guidance_embed=False)


@tiny(of=FLUX)
def longcat():
    return flux_like("LongCatImage", reference=True, guidance_embed=False, vec_in_dim=None, txt_ids_dims=[1, 2])


@tiny(of=FLUX)
def ovis():
    """Flux with gated MLPs and normed text; the host has no class of its own for it."""
    return flux_like("FluxSchnell", guidance_embed=False, vec_in_dim=None, txt_ids_dims=[1, 2], yak_mlp=True, txt_norm=True)


def flux2_like(guidance_embed: bool, **extra) -> Tiny:
    """One modulation for all blocks; the host pads the text to 512 tokens."""
    sizes = dict(SIZES, in_channels=128, out_channels=128, vec_in_dim=None, guidance_embed=guidance_embed, axes_dim=[8, 8, 8, 8],
                 theta=2000, patch_size=1, qkv_bias=False, txt_ids_dims=[3], global_modulation=True, mlp_silu_act=True, ops_bias=False,
                 default_ref_method="index", ref_index_scale=10.0, depth_single_blocks=2)
    conditioning = conditioned(32, (128, 6, 8), guidance=4.0, **extra)
    return Tiny(build("Flux2", sizes), conditioning, (128, 8, 8), (128, 7, 5), reference=True)


@tiny(of=FLUX)
def flux2():
    return flux2_like(guidance_embed=True)


@tiny(of=FLUX)
def flux2_timestep_zero():
    """A reference's tokens are modulated as at time 0; the host can only without guidance and where one modulation serves all blocks."""
    return flux2_like(guidance_embed=False, reference_latents_method="index_timestep_zero")


CHROMA = {key: value for key, value in SIZES.items() if key != "vec_in_dim"} | dict(
    vec_in_dim=None, in_channels=64, out_channels=64, in_dim=64, out_dim=64, hidden_dim=64, n_layers=2)


@tiny(of="comfy.ldm.chroma.model.Chroma")
def chroma():
    return Tiny(build("Chroma", CHROMA), conditioned(32), PICTURE, ODD)


def radiance(**sizes) -> Tiny:
    sizes = dict(CHROMA, in_channels=3, out_channels=3, patch_size=8, nerf_hidden_size=16, nerf_mlp_ratio=2, nerf_depth=2,
                 nerf_max_freqs=4, nerf_tile_size=512, nerf_final_head_type="conv", nerf_embedder_dtype=torch.float32, use_x0=False,
                 use_sequential_txt_ids=False) | sizes
    return Tiny(build("ChromaRadiance", sizes), conditioned(32), (3, 64, 64), (3, 56, 40))


@tiny(of="comfy.ldm.chroma_radiance.model.ChromaRadiance")
def chroma_radiance():
    return radiance()


@tiny(of="comfy.ldm.chroma_radiance.model.ChromaRadiance")
def chroma_radiance_x0():
    """Predicts the picture itself, in tiles of patches, with the text's positions counted."""
    return radiance(use_x0=True, use_sequential_txt_ids=True, nerf_tile_size=16, nerf_final_head_type="linear")
