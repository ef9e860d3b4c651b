"""CogVideoX, Mochi, Kandinsky 5 and SeedVR2."""

import torch

from tools.zoo.building import Tiny, build, random, text, texts, tiny

WORDS = 32
VIDEO, ODD = (16, 3, 8, 8), (16, 3, 9, 7)


def cogvideo(config: str, **sizes):
    usual = {"num_attention_heads": 2, "attention_head_dim": 32, "num_layers": 4, "text_embed_dim": WORDS, "time_embed_dim": 32,
             "use_rotary_positional_embeddings": True, "in_channels": 16, "out_channels": 16}
    return build(config, {**usual, **sizes})


def words(always: dict | None = None, **reference):
    """A `Tiny.conditioning`: text and what is passed always, and what only with a reference."""
    def conditioning(tokens=7, negative=7, with_reference=False):
        more = {**(always or {}), **(reference if with_reference else {})}
        return text(tokens, WORDS, 1, **more), text(negative, WORDS, 2, **more)
    return conditioning


@tiny(of="comfy.ldm.cogvideo.model.CogVideoXTransformer3DModel")
def cogvideo_t2v():
    return Tiny(cogvideo("CogVideoX_T2V"), texts(WORDS), VIDEO, ODD)


@tiny(of="comfy.ldm.cogvideo.model.CogVideoXTransformer3DModel")
def cogvideo_i2v():
    """The 1.5: two frames are one patch."""
    model = cogvideo("CogVideoX_I2V", in_channels=32, patch_size_t=2, ofs_embed_dim=32)
    return Tiny(model, words(concat_latent_image=random(1, 16, 1, 8, 8)), (16, 4, 8, 8), ODD, reference=True)


@tiny(of="comfy.ldm.cogvideo.model.CogVideoXTransformer3DModel")
def cogvideo_inpaint():
    model = cogvideo("CogVideoX_Inpaint", in_channels=48)
    return Tiny(model, words(concat_latent_image=random(1, 32, 3, 8, 8)), VIDEO, ODD, reference=True)


@tiny(of="comfy.ldm.genmo.joint_model.asymm_models_joint.AsymmDiTJoint")
def mochi():
    """Two streams of different widths; the text has a fixed length and a mask."""
    sizes = {"in_channels": 12, "hidden_size_x": 96, "hidden_size_y": 64, "depth": 4, "num_heads": 2, "mlp_ratio_x": 128.0,
             "mlp_ratio_y": 2.0, "learn_sigma": False, "use_t5": True, "t5_feat_dim": WORDS, "t5_token_length": 12,
             "timestep_scale": 1000.0, "use_extended_posenc": True, "posenc_preserve_area": True, "rope_theta": 10000.0,
             "attend_to_padding": False, "qk_norm": True, "qkv_bias": False, "out_bias": True, "patch_embed_bias": True, "patch_size": 2}

    def conditioning(tokens=7, negative=7, reference=False):
        return tuple(text(12, WORDS, seed, attention_mask=(torch.arange(12) < count)[None].long())
                     for seed, count in ((1, tokens), (2, negative)))
    return Tiny(build("GenmoMochi", sizes), conditioning, (12, 3, 8, 8), (12, 3, 10, 6))


def kandinsky(config: str, **sizes):
    usual = {"in_visual_dim": 16, "out_visual_dim": 16, "in_text_dim": WORDS, "in_text_dim2": 16, "time_dim": 32, "model_dim": 64,
             "ff_dim": 128, "num_text_blocks": 1, "num_visual_blocks": 4, "axes_dims": (8, 12, 12)}
    return build(config, {**usual, **sizes})


@tiny(of="comfy.ldm.kandinsky5.model.Kandinsky5")
def kandinsky5():
    """The reference takes the place of the video's first frame within the model."""
    model = kandinsky("Kandinsky5", visual_embed_dim=132)
    conditioning = words({"pooled_output": random(1, 16)}, time_dim_replace=random(1, 16, 1, 8, 8))
    return Tiny(model, conditioning, VIDEO, (16, 3, 10, 6), reference=True)


@tiny(of="comfy.ldm.kandinsky5.model.Kandinsky5")
def kandinsky5_image():
    model = kandinsky("Kandinsky5Image", visual_embed_dim=64)
    return Tiny(model, texts(WORDS, pooled_output=random(1, 16)), (16, 16, 16), (16, 18, 14))


def seedvr(**sizes):
    model = build("SeedVR2", {"norm_eps": 1e-5, "num_layers": 4, "heads": 2, "head_dim": 128, "expand_ratio": 1, **sizes})

    def conditioning(tokens=58, negative=64, reference=False):
        low = torch.cat([random(1, 16, 3, 10, 6), torch.ones(1, 1, 3, 10, 6)], dim=1)
        parts = model.model.diffusion_model.positive_conditioning, model.model.diffusion_model.negative_conditioning
        return tuple([[part[None], {"condition": low}]] for part in parts)
    return Tiny(model, conditioning, (16, 3, 10, 6))


@tiny(of="comfy.ldm.seedvr.model.NaDiT")
def seedvr2():
    """Upscales a video in one step; all latents of a batch are one row of tokens. Shares weights of both streams from the second block."""
    return seedvr(vid_dim=128, mm_layers=2, mlp_type="swiglu", vid_out_norm="fusedrms")
