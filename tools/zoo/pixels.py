"""Transformers of pictures as pixels, Chroma Radiance aside."""

import inspect

import torch

from tools.zoo.building import NotInThisHost, Tiny, build, random, tiny
from tools.zoo.flux import conditioned
from tools.zoo.images import Z_IMAGE


@tiny(of="comfy.ldm.lumina.model.NextDiTPixelSpace")
def z_image_pixel():
    sizes = dict(Z_IMAGE, patch_size=8, in_channels=3, decoder_hidden_size=32, decoder_num_res_blocks=2, decoder_max_freqs=4,
                 decoder_in_channels=192, use_x0=True)
    return Tiny(build("ZImagePixelSpace", sizes), conditioned(32), (3, 64, 64), (3, 56, 40))


PIXELDIT = dict(hidden_size=96, num_groups=2, pixel_hidden_size=16, pixel_attn_hidden_size=48, pixel_num_groups=2, patch_depth=4,
                pixel_depth=1, txt_embed_dim=32, txt_max_length=16)


@tiny(of="comfy.ldm.pixeldit.model.PixDiT_T2I")
def pixeldit():
    return Tiny(build("PixelDiTT2I", PIXELDIT), conditioned(32), (3, 64, 64), (3, 56, 40))


def pid_like(latent: torch.Tensor, **sizes) -> Tiny:
    """Decodes a small latent: what it knows of it enters before every second block."""
    sizes = dict(PIXELDIT, lq_latent_channels=latent.shape[1], lq_hidden_dim=16, lq_num_res_blocks=1, lq_interval=2, rope_ref_h=64,
                 rope_ref_w=64) | sizes
    conditioning = conditioned(32, lq_latent=latent, degrade_sigma=torch.tensor([0.1]))
    return Tiny(build("PiD", sizes), conditioning, (3, 64, 64), (3, 56, 40))


@tiny(of="comfy.ldm.pixeldit.pid.PidNet")
def pid():
    return pid_like(random(1, 16, 2, 2))


@tiny(of="comfy.ldm.pixeldit.pid.PidNet")
def pid15():
    """Flux2's latent; it enters before the pixels' blocks too."""
    import comfy.ldm.pixeldit.pid
    if "pit_lq_inject" not in inspect.signature(comfy.ldm.pixeldit.pid.PidNet).parameters:
        raise NotInThisHost("pit_lq_inject of comfy.ldm.pixeldit.pid.PidNet")
    return pid_like(random(1, 128, 2, 2), latent_spatial_down_factor=16, lq_latent_unpatchify_factor=2, lq_conv_padding_mode="replicate",
                    lq_gate_per_token=True, pit_lq_inject=True)


SPECIAL = [151645, 198, 151644, 77091, 198, 151669, 151673]     # what ends a prompt; the last is where the time enters


@tiny(of="comfy.ldm.hidream_o1.model.HiDreamO1Transformer")
def hidream_o1():
    """A language model; it keeps the prompt's keys and values from one step to the next."""
    text = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=4, num_attention_heads=2, num_key_value_heads=1, head_dim=16,
                rope_dims=[4, 2, 2], vocab_size=151680)
    vision = dict(hidden_size=32, num_heads=2, intermediate_size=32, depth=1, patch_size=16, num_position_embeddings=16)

    def side(tokens, seed, reference):
        generator = torch.Generator().manual_seed(seed)
        prompt = [151644, 872, 198, *torch.randint(1000, (tokens,), generator=generator).tolist(), *SPECIAL]
        extra = dict(text_input_ids=torch.tensor([prompt]))
        if reference:
            extra["reference_latents"] = [torch.rand(1, 96, 64, 3, generator=generator)]
        return [[extra["text_input_ids"].unsqueeze(-1).float(), extra]]

    def conditioning(tokens=7, negative=7, reference=False):
        return side(tokens, 1, reference), side(negative, 2, reference)
    model = build("HiDreamO1", dict(text_config_overrides=text, vision_config_overrides=vision))
    return Tiny(model, conditioning, (3, 128, 128), (3, 160, 96), reference=True)
