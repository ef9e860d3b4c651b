"""Transformers of images in a latent space, Flux and its kin aside."""

import torch

from tools.zoo.building import Tiny, build, random, tiny
from tools.zoo.flux import conditioned, mask, pooled

PICTURE = (16, 16, 16)
ODD = (16, 15, 11)
FRAME = (16, 1, 16, 16)
ODD_FRAME = (16, 1, 15, 11)


def sd3_like(**sizes) -> Tiny:
    width = 64 * sizes["depth"]
    embedder = {"target": "torch.nn.Linear", "params": {"in_features": 32, "out_features": width}}
    sizes = dict(in_channels=16, patch_size=2, input_size=None, num_patches=64 * 64, pos_embed_max_size=64, adm_in_channels=32,
                 context_embedder_config=embedder, context_size=32) | sizes
    return Tiny(build("SD3", sizes), conditioned(32, pooled_output=pooled(32)), PICTURE, ODD)


@tiny(of="comfy.ldm.modules.diffusionmodules.mmdit.OpenAISignatureMMDITWrapper")
def sd3():
    return sd3_like(depth=2, num_blocks=3)


@tiny(of="comfy.ldm.modules.diffusionmodules.mmdit.OpenAISignatureMMDITWrapper")
def sd35_medium():
    """Its first blocks have a second attention, of the picture alone."""
    return sd3_like(depth=2, num_blocks=4, qk_norm="rms", x_block_self_attn_layers=[0, 1])


@tiny(of="comfy.ldm.aura.mmdit.MMDiT")
def aura():
    sizes = dict(in_channels=4, out_channels=4, patch_size=2, dim=128, n_layers=4, n_double_layers=2, n_heads=2, global_conddim=128,
                 cond_seq_dim=32, max_seq=256)
    return Tiny(build("AuraFlow", sizes), conditioned(32), (4, 16, 16), (4, 15, 11))


def pixart(config: str, **sizes) -> Tiny:
    """The host's class divides by 0 where a latent is smaller than 33 x 33 in the mean."""
    sizes = dict(input_size=32, patch_size=2, in_channels=4, hidden_size=96, depth=4, num_heads=4, mlp_ratio=2.0, caption_channels=32,
                 model_max_length=7, pe_interpolation=1, pe_precision=None, pred_sigma=True) | sizes
    return Tiny(build(config, sizes), conditioned(32, width=288, height=256), (4, 32, 36), (4, 38, 30))


@tiny(of="comfy.ldm.pixart.pixartms.PixArtMS")
def pixart_sigma():
    return pixart("PixArtSigma", micro_condition=False)


@tiny(of="comfy.ldm.pixart.pixartms.PixArtMS")
def pixart_alpha():
    return pixart("PixArtAlpha", micro_condition=True)


def hunyuan_dit_like(config: str, **sizes) -> Tiny:
    sizes = dict(in_channels=4, hidden_size=96, depth=6, num_heads=3, text_states_dim=32, text_states_dim_t5=48, text_len=7,
                 text_len_t5=9, mlp_ratio=2.0) | sizes
    conditioning = conditioned(32, attention_mask=torch.ones(1, 7), conditioning_mt5xl=random(1, 9, 48),
                               attention_mask_mt5xl=torch.ones(1, 9))
    return Tiny(build(config, sizes), lambda tokens=7, negative=7, reference=False: conditioning(), (4, 16, 16), (4, 14, 10))


@tiny(of="comfy.ldm.hydit.models.HunYuanDiT")
def hunyuan_dit():
    """Its texts have one length."""
    return hunyuan_dit_like("HunyuanDiT")


@tiny(of="comfy.ldm.hydit.models.HunYuanDiT")
def hunyuan_dit10():
    """1.0 and 1.1: the picture's size and a style as conditions."""
    return hunyuan_dit_like("HunyuanDiT1", size_cond=True, use_style_cond=True)


LUMINA = dict(patch_size=2, in_channels=16, dim=96, n_layers=4, n_refiner_layers=2, n_heads=2, n_kv_heads=1, multiple_of=32, qk_norm=True,
              cap_feat_dim=32, axes_dims=(16, 16, 16), axes_lens=(300, 64, 64), ffn_dim_multiplier=2.0)
Z_IMAGE = dict(LUMINA, dim=256, n_heads=4, n_kv_heads=4, axes_dims=(16, 24, 24), rope_theta=256.0, z_image_modulation=True,
               time_scale=1000.0, pad_tokens_multiple=32)


@tiny(of="comfy.ldm.lumina.model.NextDiT")
def lumina2():
    return Tiny(build("Lumina2", LUMINA), conditioned(32, attention_mask=mask), PICTURE, ODD)


@tiny(of="comfy.ldm.lumina.model.NextDiT")
def newbie():
    """Lumina2 with a pooled text beside the time."""
    return Tiny(build("Lumina2", dict(LUMINA, clip_text_dim=16)), conditioned(32, pooled_output=pooled(16)), PICTURE, ODD)


@tiny(of="comfy.ldm.lumina.model.NextDiT")
def z_image():
    """The text and the picture are padded to multiples of 32 tokens."""
    return Tiny(build("ZImage", Z_IMAGE), conditioned(32), PICTURE, ODD)


class Seen:
    """What a vision encoder returns of a picture."""

    def __init__(self, rows: int, columns: int, width: int):
        self.image_sizes = [(3, rows * 16, columns * 16)]
        self.last_hidden_state = random(1, rows * columns, width)


@tiny(of="comfy.ldm.lumina.model.NextDiT")
def z_image_omni():
    """
    A reference brings its own text and what a vision encoder saw of it; the host's node adds a text behind the last reference, with
    which the host cannot run two samples at once.
    """
    plain = conditioned(32)

    def conditioning(tokens=7, negative=7, reference=False):
        sides = plain(tokens, negative)
        for [[_, extra]] in sides if reference else ():
            extra.update(reference_latents=[random(1, 16, 12, 16)], reference_latents_text_embeds=[random(1, 5, 32)],
                         clip_vision_outputs=[Seen(3, 4, 24)])
        return sides
    return Tiny(build("ZImage", dict(Z_IMAGE, siglip_feat_dim=24)), conditioning, PICTURE, ODD, reference=True)


def qwen_like(reference: bool = False, shape=FRAME, odd=ODD_FRAME, **sizes) -> Tiny:
    sizes = dict(num_layers=4, attention_head_dim=32, num_attention_heads=2, joint_attention_dim=32, axes_dims_rope=(8, 12, 12)) | sizes
    return Tiny(build("QwenImage", sizes), conditioned(32, (16, 1, 12, 16)), shape, odd, reference)


QWEN = "comfy.ldm.qwen_image.model.QwenImageTransformer2DModel"


@tiny(of=QWEN)
def qwen_image():
    return qwen_like()


@tiny(of=QWEN)
def qwen_edit():
    return qwen_like(reference=True)


@tiny(of=QWEN)
def qwen_edit_timestep_zero():
    """Edit 2511: a reference's tokens are modulated as at time 0, and the host doubles the batch of the time embedding."""
    return qwen_like(reference=True, default_ref_method="index_timestep_zero")


@tiny(of=QWEN)
def qwen_layered():
    """A picture and its layers as frames."""
    return qwen_like(reference=True, shape=(16, 3, 12, 16), odd=(16, 2, 11, 9), use_additional_t_cond=True,
                     default_ref_method="negative_index")


@tiny(of="comfy.ldm.mage_flow.model.MageFlowTransformer2DModel")
def mage_flow():
    sizes = dict(num_layers=4, attention_head_dim=32, num_attention_heads=2, joint_attention_dim=32, axes_dims_rope=(8, 12, 12))
    return Tiny(build("MageFlow", sizes), conditioned(32, (128, 6, 8)), (128, 8, 8), (128, 7, 5), reference=True)


@tiny(of="comfy.ldm.joyimage.model.JoyImageTransformer3DModel")
def joyimage():
    sizes = dict(hidden_size=64, num_attention_heads=2, text_dim=32, num_layers=4, rope_dim_list=[8, 12, 12])
    return Tiny(build("JoyImage", sizes), conditioned(32, (16, 1, 12, 16)), FRAME, ODD_FRAME, reference=True)


def hidream_like(odd=None, **extra) -> Tiny:
    sizes = dict(patch_size=2, in_channels=16, out_channels=16, num_layers=2, num_single_layers=3, attention_head_dim=32,
                 num_attention_heads=2, caption_channels=[32, 32], text_emb_dim=16, num_routed_experts=2, num_activated_experts=1,
                 axes_dims_rope=(16, 8, 8), max_resolution=(32, 32), llama_layers=[0, 1, 2, 3, 3])
    conditioning = conditioned(32, pooled_output=pooled(16),
                               conditioning_llama3=lambda tokens, seed: random(1, 4, tokens, 32, seed=seed), **extra)
    return Tiny(build("HiDream", sizes), conditioning, PICTURE, odd)


@tiny(of="comfy.ldm.hidream.model.HiDreamImageTransformer2DModel")
def hidream():
    return hidream_like(ODD)


@tiny(of="comfy.ldm.hidream.model.HiDreamImageTransformer2DModel")
def hidream_edit():
    """E1: the picture to edit, of the latent's size, stands beside it."""
    return hidream_like(concat_latent_image=random(1, 16, 16, 16))


OMNIGEN = dict(patch_size=2, hidden_size=96, num_layers=4, num_refiner_layers=1, num_attention_heads=2, num_kv_heads=1, multiple_of=32,
               axes_dim_rope=(16, 16, 16), axes_lens=(64, 64, 64), in_channels=16, timestep_scale=1000.0)


@tiny(of="comfy.ldm.omnigen.omnigen2.OmniGen2Transformer2DModel")
def omnigen2():
    conditioning = conditioned(32, (16, 12, 16), attention_mask=mask)
    return Tiny(build("Omnigen2", dict(OMNIGEN, text_feat_dim=32)), conditioning, PICTURE, ODD, reference=True)


@tiny(of="comfy.ldm.boogu.model.BooguTransformer2DModel")
def boogu():
    sizes = dict(OMNIGEN, num_double_stream_layers=2, instruction_feat_dim=32)
    return Tiny(build("Boogu", sizes), conditioned(32, (16, 12, 16), attention_mask=mask), PICTURE, ODD, reference=True)


def krea2_like(method: str | None) -> Tiny:
    sizes = dict(features=96, tdim=32, txtdim=16, heads=3, kvheads=1, multiplier=2, layers=4, txtlayers=2, txtheads=2, txtkvheads=2)
    extra = dict(reference_latents_method=method) if method else {}
    return Tiny(build("Krea2", sizes), conditioned(32, (16, 1, 12, 16), **extra), FRAME, ODD_FRAME, reference=bool(method))


KREA2 = "comfy.ldm.krea2.model.SingleStreamDiT"


@tiny(of=KREA2)
def krea2():
    """Takes no reference unless a method is named."""
    return krea2_like(None)


@tiny(of=KREA2)
def krea2_edit():
    return krea2_like("index")


@tiny(of=KREA2)
def krea2_timestep_zero():
    return krea2_like("index_timestep_zero")


@tiny(of="comfy.ldm.ideogram4.model.Ideogram4Transformer2DModel")
def ideogram4():
    sizes = dict(in_channels=128, num_layers=4, num_attention_heads=2, attention_head_dim=64, intermediate_size=128, adaln_dim=32,
                 llm_features_dim=32, mrope_section=(12, 10, 10))
    return Tiny(build("Ideogram4", sizes), conditioned(32), (128, 8, 8), (128, 7, 5))


@tiny(of="comfy.ldm.ernie.model.ErnieImageModel")
def ernie():
    sizes = dict(hidden_size=96, num_attention_heads=2, num_layers=4, ffn_hidden_size=128, text_in_dim=32, rope_axes_dim=(16, 16, 16))
    return Tiny(build("ErnieImage", sizes), conditioned(32), (128, 8, 8), (128, 7, 5))


@tiny(of="comfy.ldm.lens.model.LensTransformer2DModel")
def lens():
    """Its text is two layers of an encoder side by side."""
    sizes = dict(num_layers=4, attention_head_dim=32, num_attention_heads=2, enc_hidden_dim=32, axes_dims_rope=(8, 12, 12),
                 selected_layer_index=(0, 1))
    return Tiny(build("Lens", sizes), conditioned(64), (128, 8, 8), (128, 7, 5))
