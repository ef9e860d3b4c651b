"""LTX-Video, LTX 2 (picture and sound) and MiniMax H3 (picture and sound)."""

import comfy.nested_tensor
import torch

from tools.zoo.building import Tiny, build, first_frame, random, text, tiny

WORDS = 64


def words(width: int, **reference):
    """A `Tiny.conditioning`: text with its mask, and what is passed only with a reference."""
    def conditioning(tokens=7, negative=7, with_reference=False):
        more = reference if with_reference else {}
        return tuple([[states, {"attention_mask": torch.ones(1, states.shape[1], dtype=torch.long), **more}]]
                     for [[states, _]] in (text(tokens, width, 1), text(negative, width, 2)))
    return conditioning


LTX = {"in_channels": 128, "cross_attention_dim": WORDS, "attention_head_dim": 32, "num_attention_heads": 2, "caption_channels": 32,
       "num_layers": 4}


@tiny(of="comfy.ldm.lightricks.model.LTXVModel")
def ltxv():
    """With a reference every token has a timestep of its own."""
    return Tiny(build("LTXV", LTX), words(32), (128, 3, 4, 4), (128, 2, 5, 3), reference=True, latent=first_frame)


@tiny(of="comfy.ldm.lightricks.model.LTXVModel")
def ltxv_guided():
    """The guide is one more frame behind the video, with a place in time of its own; what its mask leaves out has no tokens."""
    def latent(batch, shape, reference):
        mask = torch.ones(1, 1, *shape[1:])
        video = torch.zeros(batch, *shape)
        if reference:
            guide = torch.zeros(1, 1, 1, *shape[2:])
            guide[..., 0, :] = -1                                   # these tokens are left out
            mask = torch.cat([mask, guide], dim=2)
            video = torch.cat([video, random(batch, shape[0], 1, *shape[2:])], dim=2)
        return video, mask
    places = torch.stack(torch.meshgrid(torch.tensor([16.]), torch.arange(4) * 32., torch.arange(4) * 32., indexing="ij")).reshape(1, 3, 16, 1)
    places = torch.cat([places, places + 8], dim=-1)
    return Tiny(build("LTXV", LTX), words(32, keyframe_idxs=places), (128, 3, 4, 4), (128, 2, 5, 3), reference=True, latent=latent)


AV = {**LTX, "audio_cross_attention_dim": 32, "audio_attention_head_dim": 16, "audio_num_attention_heads": 2,
      "connector_attention_head_dim": 32, "connector_num_attention_heads": 2, "audio_connector_attention_head_dim": 16,
      "audio_connector_num_attention_heads": 2, "connector_num_layers": 1, "cross_attention_adaln": True, "apply_gated_attention": True,
      "caption_proj_before_connector": True, "caption_projection_first_linear": False}


@tiny(of="comfy.ldm.lightricks.av_model.LTXAVModel")
def ltx2():
    """Two streams, picture and sound; with a reference the first frame is held."""
    def latent(batch, shape, reference):
        video, mask = first_frame(batch, shape[0], reference)
        sound = torch.zeros(batch, *shape[1])
        if mask is not None:
            mask = comfy.nested_tensor.NestedTensor([mask, torch.ones(1, *shape[1])])
        return comfy.nested_tensor.NestedTensor([video, sound]), mask
    shape, odd = ((128, 3, 4, 4), (8, 6, 16)), ((128, 2, 5, 3), (8, 5, 16))
    return Tiny(build("LTXAV", AV), words(96), shape, odd, reference=True, latent=latent)


@tiny(of="comfy.ldm.minimax.model.MiniMaxH3Model")
def minimax():
    """One stream: text, references, sound, picture. Takes no batches, so the two sides run one after the other."""
    sizes = {"hidden_size": 64, "num_layers": 4, "token_refiner_num_layers": 1, "num_attention_heads": 2, "attention_head_dim": 32,
             "ffn_hidden_size": 128, "latents_dim": 24, "audio_latents_dim": 32, "text_dim": 32, "timestep_input_dim": 32,
             "time_embed_hidden_size": 64, "time_embed_dim": 48, "rope_inv_freq_len": 4}
    model = build("MiniMaxH3", sizes)
    model.model.diffusion_model.rope.inv_freq.copy_(10000.0 ** -(torch.arange(4) / 4))
    picture = {"kind": "image", "latent_h": 4, "latent_w": 6, "latent": random(1, 24, 1, 4, 6)}
    sound = {"kind": "audio", "ref_audio_t": 3, "audio_latent": random(1, 32, 2, 3)}
    shape, odd = ((24, 2, 8, 8), (32, 2, 8)), ((24, 2, 5, 7), (32, 2, 5))
    return Tiny(model, words(32, minimax_refs=[picture, sound]), shape, odd, reference=True, batches=False)
