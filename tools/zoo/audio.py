"""Transformers of sound."""

import torch

from tools.zoo.building import Tiny, build, fill, random, tiny
from tools.zoo.flux import conditioned
from tools.zoo.unets import build_with

WORDS = 768                                 # the width that the host gives to lengths in seconds, which stand behind the text


def seconds(name: str, features: str) -> dict:
    """The weights with which the host embeds a length."""
    import comfy.ldm.audio.embedders
    embedder = comfy.ldm.audio.embedders.NumberConditioner(WORDS, fourier_features_type=features)
    fill(embedder)
    return {f"conditioner.conditioners.{name}.{key}": value for key, value in embedder.state_dict().items()}


def gammas_near_one(model):
    for name, parameter in model.model.diffusion_model.named_parameters():
        if name.endswith("gamma"):
            parameter.data = 1 + 0.1 * random(*parameter.shape)
    return model


STABLE = "comfy.ldm.audio.dit.AudioDiffusionTransformer"


@tiny(of=STABLE)
def stable_audio():
    """A token of time and length stands before the sound."""
    sizes = dict(io_channels=64, embed_dim=64, depth=4, num_heads=2, global_cond_dim=2 * WORDS, cond_token_dim=WORDS,
                 project_cond_tokens=True)
    state = seconds("seconds_start", "learned") | seconds("seconds_total", "learned")
    model = gammas_near_one(build_with("StableAudio", sizes, state))
    return Tiny(model, conditioned(WORDS, seconds_start=0, seconds_total=3), (64, 32), (64, 27))


@tiny(of=STABLE)
def stable_audio3():
    """Tokens of memory stand before the sound; a known part of it is added in every block."""
    sizes = dict(io_channels=256, embed_dim=64, depth=4, num_heads=2, cond_token_dim=WORDS, global_cond_dim=WORDS,
                 project_cond_tokens=True, global_cond_type="adaLN", timestep_features_type="expo", num_memory_tokens=4,
                 local_add_cond_dim=257, attn_kwargs={"qk_norm": "rms", "differential": True}, norm_type="rms_norm")
    padding = {"conditioner.conditioners.prompt.padding_embedding": random(WORDS)}
    model = gammas_near_one(build_with("StableAudio3", sizes, seconds("seconds_total", "expo") | padding))
    return Tiny(model, conditioned(WORDS, seconds_total=3), (256, 32), (256, 27))


def small_lyrics(model):
    import comfy.ldm.ace.lyric_encoder
    import comfy.ops
    model.lyric_encoder = comfy.ldm.ace.lyric_encoder.ConformerEncoder(
        32, output_size=32, attention_heads=2, linear_units=64, num_blocks=1, static_chunk_size=0, operations=comfy.ops.disable_weight_init)


@tiny(of="comfy.ldm.ace.model.ACEStepTransformer2DModel")
def ace_step():
    sizes = dict(num_layers=4, inner_dim=64, attention_head_dim=32, num_attention_heads=2, text_embedding_dim=32, lyric_hidden_size=32,
                 max_position=512, ssl_latent_dims=[16, 16], lyric_encoder_vocab_size=64)
    conditioning = conditioned(32, conditioning_lyrics=torch.arange(1, 6).unsqueeze(0))
    return Tiny(build("ACEStep", sizes, trim=small_lyrics), conditioning, (8, 16, 32), (8, 16, 27))


@tiny(of="comfy.ldm.ace.ace_step15.AceStepConditionGenerationModel")
def ace_step15():
    """All that it makes of the text, the lyrics and the timbre is made anew in every call."""
    sizes = dict(hidden_size=64, text_hidden_dim=32, num_dit_layers=4, num_lyric_layers=1, num_timbre_layers=1, num_tokenizer_layers=1,
                 num_heads=2, num_kv_heads=1, head_dim=32, intermediate_size=128, fsq_dim=64, encoder_hidden_size=64,
                 encoder_intermediate_size=128, encoder_num_heads=2, sliding_window=8)
    return Tiny(build("ACEStep15", sizes), conditioned(32, conditioning_lyrics=random(1, 5, 32)), (64, 40), (64, 27))
