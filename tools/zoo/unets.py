"""UNets and Stable Cascade."""

import torch

from tools.zoo.building import Tiny, build, fill, random, tiny
from tools.zoo.flux import conditioned, pooled

UNET = "comfy.ldm.modules.diffusionmodules.openaimodel.UNetModel"
PICTURE, ODD = (4, 16, 16), (4, 20, 12)
VIDEO = dict(extra_ff_mix_layer=True, use_spatial_context=True, merge_strategy="learned_with_images", merge_factor=0.0,
             video_kernel_size=[3, 1, 1], use_temporal_resblock=True, use_temporal_attention=True, disable_temporal_crossattention=False)


def build_with(config: str, sizes: dict, state: dict):
    """As `build`; `state` are the weights from which the host's class reads what it is."""
    import comfy.model_patcher
    import comfy.supported_models
    kind = getattr(comfy.supported_models, config)
    found = kind({**kind.unet_config, **kind.unet_extra_config, **sizes})
    found.unet_config.update({**kind.unet_extra_config, **sizes})
    found.set_inference_dtype(torch.float32, None)
    model = found.get_model(state, "")
    fill(model.diffusion_model)
    device = comfy.model_management.get_torch_device()
    return comfy.model_patcher.CoreModelPatcher(model.to(device), device, device)


def norms_near_one(model):
    """Sets norms whose names do not say what they are."""
    for number, module in enumerate(model.model.diffusion_model.modules()):
        if isinstance(module, (torch.nn.GroupNorm, torch.nn.LayerNorm)) and module.weight is not None:
            module.weight.data = 1 + 0.1 * random(*module.weight.shape, seed=number)
    return model


def unet(config: str, conditioning, shape=PICTURE, odd=ODD, state: dict | None = None, latent=None, **sizes) -> Tiny:
    usual = dict(image_size=32, in_channels=4, out_channels=4, model_channels=32, num_res_blocks=[1, 1], channel_mult=[1, 2],
                 transformer_depth=[1, 1], transformer_depth_output=[1, 1, 1, 1], transformer_depth_middle=1,
                 use_spatial_transformer=True, context_dim=32, legacy=False, num_heads=4, num_head_channels=-1, adm_in_channels=None,
                 use_linear_in_transformer=True)
    sizes = {**usual, **sizes}
    model = norms_near_one(build(config, sizes) if state is None else build_with(config, sizes, state))
    return Tiny(model, conditioning, shape, odd, **({"latent": latent} if latent else {}))


@tiny(of=UNET)
def sd15():
    return unet("SD15", conditioned(32), use_linear_in_transformer=False)


@tiny(of=UNET)
def sd15_inpaint():
    """A mask and the picture around it as five more channels."""
    known = dict(concat_latent_image=random(1, 4, 16, 16), concat_mask=torch.ones(1, 1, 128, 128))
    return unet("SD15", conditioned(32, **known), use_linear_in_transformer=False, in_channels=9)


@tiny(of=UNET)
def sd15_pix2pix():
    return unet("SD15_instructpix2pix", conditioned(32, concat_latent_image=random(1, 4, 16, 16)), use_linear_in_transformer=False,
                in_channels=8)


@tiny(of=UNET)
def zero123():
    """The text is what a vision encoder saw and the angle, projected to one width."""
    state = {"cc_projection.weight": random(32, 36) / 6, "cc_projection.bias": 0.1 * random(32)}
    return unet("Stable_Zero123", conditioned(36, concat_latent_image=random(1, 4, 16, 16)), state=state, in_channels=8,
                use_linear_in_transformer=False)


@tiny(of=UNET)
def sd20():
    """Predicts velocity."""
    state = {"output_blocks.11.1.transformer_blocks.0.norm1.bias": random(32)}
    return unet("SD20", conditioned(32), state=state, num_heads=-1, num_head_channels=16)


class Seen:
    """What CLIP Vision returns of a picture."""
    image_embeds = random(1, 768)


@tiny(of=UNET)
def sd21_unclip():
    picture = dict(clip_vision_output=Seen, strength=1.0, noise_augmentation=0.1)
    return unet("SD21UnclipL", conditioned(32, unclip_conditioning=[picture]), num_heads=-1, num_head_channels=16,
                num_classes="sequential", adm_in_channels=1536)


@tiny(of=UNET)
def upscaler():
    """The small picture as three more channels, the noise added to it as a class."""
    return unet("SD_X4Upscaler", conditioned(32, concat_image=random(1, 3, 16, 16), noise_augmentation=0.1), in_channels=7,
                disable_self_attentions=[True, False], num_classes=1000)


@tiny(of=UNET)
def lotus():
    return unet("LotusD", conditioned(32), num_heads=-1, num_head_channels=16, num_classes="sequential", adm_in_channels=4)


def sdxl_like(config: str, state: dict | None = None, extra: dict | None = None, **sizes) -> Tiny:
    usual = dict(num_heads=-1, num_head_channels=16, adm_in_channels=2816, num_classes="sequential", transformer_depth=[0, 2],
                 transformer_depth_output=[0, 0, 2, 2], transformer_depth_middle=2)
    return unet(config, conditioned(32, pooled_output=pooled(1280), **(extra or {})), state=state, **{**usual, **sizes})


@tiny(of=UNET)
def sdxl():
    return sdxl_like("SDXL")


@tiny(of=UNET)
def sdxl_zero_snr():
    """Predicts velocity, from a first sigma that is nearly endless."""
    return sdxl_like("SDXL", state={"v_pred": torch.ones(1), "ztsnr": torch.ones(1)})


@tiny(of=UNET)
def sdxl_edm():
    """Playground 2.5."""
    return sdxl_like("SDXL", state={"edm_mean": torch.zeros(1), "edm_std": torch.ones(1)})


@tiny(of=UNET)
def sdxl_pix2pix():
    return sdxl_like("SDXL_instructpix2pix", extra=dict(concat_latent_image=random(1, 4, 16, 16)), in_channels=8)


@tiny(of=UNET)
def sdxl_refiner():
    return sdxl_like("SDXLRefiner", adm_in_channels=2560, transformer_depth=[0, 1], transformer_depth_output=[0, 0, 1, 1])


@tiny(of=UNET)
def ssd1b():
    """No transformer in the middle."""
    return sdxl_like("SSD1B", transformer_depth_middle=-1)


@tiny(of=UNET)
def koala():
    """No middle at all."""
    return sdxl_like("KOALA_700M", transformer_depth_middle=-2)


def turntable(config: str, adm: int, **extra) -> Tiny:
    """The frames of a video as a batch: three for each that is asked for."""
    conditioning = conditioned(32, concat_latent_image=random(1, 4, 8, 8), **extra)

    def latent(batch: int, shape: tuple, reference: bool):
        return torch.zeros(3 * batch, *shape), None
    return unet(config, conditioning, (4, 8, 8), (4, 12, 4), in_channels=8, num_heads=-1, num_head_channels=16, num_classes="sequential",
                adm_in_channels=adm, latent=latent, **VIDEO)


@tiny(of=UNET)
def svd():
    return turntable("SVD_img2vid", 768, motion_bucket_id=127, fps=6, augmentation_level=0.0)


@tiny(of=UNET)
def sv3d_u():
    return turntable("SV3D_u", 256)


@tiny(of=UNET)
def sv3d_p():
    return turntable("SV3D_p", 1280, elevation=[0.0, 10.0, 20.0], azimuth=[0.0, 120.0, 240.0])


@tiny(of="comfy.ldm.cascade.stage_c.StageC")
def cascade_c():
    sizes = dict(c_cond=32, c_hidden=[32, 32], nhead=[2, 2], blocks=[[1, 2], [2, 1]], c_clip_text=32, c_clip_text_pooled=16)
    model = norms_near_one(build("Stable_Cascade_C", sizes))
    return Tiny(model, conditioned(32, pooled_output=pooled(16)), (16, 16, 16), (16, 15, 11))


@tiny(of="comfy.ldm.cascade.stage_b.StageB")
def cascade_b():
    """Decodes what stage C made, of which the host's node passes the latent."""
    sizes = dict(c_cond=32, c_hidden=[16, 32], nhead=[-1, 2], blocks=[[1, 1], [1, 1]], block_repeat=[[1, 1], [2, 1]],
                 level_config=["CT", "CTA"], c_clip=16, dropout=[0, 0])
    model = norms_near_one(build("Stable_Cascade_B", sizes))
    conditioning = conditioned(32, pooled_output=pooled(16), stable_cascade_prior=random(1, 16, 4, 4))
    return Tiny(model, conditioning, (4, 16, 16), (4, 20, 12))
