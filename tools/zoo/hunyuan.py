"""HunyuanVideo and HunyuanImage: one class in several sizes and with several inputs."""

from types import SimpleNamespace

import torch

from tools.zoo.building import Tiny, build, first_frame, random, text, tiny

MODEL = "comfy.ldm.hunyuan_video.model.HunyuanVideo"
WORDS, LETTERS = 32, 1472                   # widths of the text and of what ByT5 gives
VIDEO, ODD = (16, 3, 8, 8), (16, 3, 10, 6)


def hunyuan(config: str, **sizes):
    usual = {"in_channels": 16, "out_channels": 16, "vec_in_dim": 16, "context_in_dim": WORDS, "hidden_size": 64, "mlp_ratio": 2.0,
             "num_heads": 2, "depth": 2, "depth_single_blocks": 3, "axes_dim": [8, 12, 12], "theta": 256, "patch_size": [1, 2, 2],
             "qkv_bias": True, "guidance_embed": True, "byt5": False, "meanflow": False, "use_cond_type_embedding": False,
             "vision_in_dim": None, "meanflow_sum": False}
    return build(config, {**usual, **sizes})


def words(always: dict | None = None, **reference):
    """A `Tiny.conditioning`: text with its pooled vector, what is passed always, and what only with a reference."""
    def conditioning(tokens=7, negative=7, with_reference=False):
        more = {"pooled_output": random(1, 16), **(always or {}), **(reference if with_reference else {})}
        return text(tokens, WORDS, 1, **more), text(negative, WORDS, 2, **more)
    return conditioning


@tiny(of=MODEL)
def hunyuan_video():
    return Tiny(hunyuan("HunyuanVideo"), words(), VIDEO, ODD)


@tiny(of=MODEL)
def hunyuan_video_replace():
    """Image to video, "v2 (replace)": the first frame is given and has a modulation of its own, which the host breaks in batches."""
    model = hunyuan("HunyuanVideo")
    return Tiny(model, words(guiding_frame_index=0), VIDEO, ODD, reference=True, latent=first_frame, batches=False)


@tiny(of=MODEL)
def hunyuan_video_custom():
    """The reference's tokens precede the video's. The host fails on a batch, so the two sides must differ in length not to be one."""
    conditioning = words(ref_latent=random(1, 16, 1, 8, 8))

    def apart(tokens=7, negative=7, reference=False):
        return conditioning(tokens, negative + (reference and tokens == negative), reference)
    return Tiny(hunyuan("HunyuanVideo"), apart, VIDEO, ODD, reference=True, batches=False)


@tiny(of=MODEL)
def hunyuan_video_i2v():
    return Tiny(hunyuan("HunyuanVideoI2V", in_channels=33), words(**start(16)), VIDEO, ODD, reference=True)


@tiny(of=MODEL)
def hunyuan_video_skyreels():
    more = {"concat_latent_image": random(1, 16, 3, 8, 8)}
    return Tiny(hunyuan("HunyuanVideoSkyreelsI2V", in_channels=32), words(**more), VIDEO, ODD, reference=True)


@tiny(of=MODEL)
def hunyuan_video15():
    """Tokens of what CLIP Vision saw and of ByT5 precede those of the text."""
    more = {**start(32), "clip_vision_output": SimpleNamespace(last_hidden_state=random(1, 5, 48))}
    return Tiny(hunyuan_15("HunyuanVideo15", in_channels=65), words(LETTERING, **more), (32, 3, 8, 8), (32, 3, 7, 5), reference=True)


@tiny(of=MODEL)
def hunyuan_video15_upscale():
    """The low-resolution video comes with the latent: its channels, a mask, those of the first frame and another mask."""
    more = {"concat_latent_image": random(1, 66, 3, 8, 8)}
    model = hunyuan_15("HunyuanVideo15_SR_Distilled", in_channels=98, meanflow=True, meanflow_sum=True)
    return Tiny(model, words(LETTERING, **more), (32, 3, 8, 8), (32, 3, 7, 5), reference=True)


@tiny(of=MODEL)
def hunyuan_image21():
    """A picture of two dimensions; the distilled one also looks at the next step's time."""
    model = hunyuan("HunyuanImage21", vec_in_dim=None, patch_size=[1, 1], axes_dim=[16, 16], in_channels=64, out_channels=64, byt5=True,
                    meanflow=True)
    return Tiny(model, words(LETTERING), (64, 8, 8), (64, 9, 7))


@tiny(of=MODEL)
def hunyuan_image21_refiner():
    model = hunyuan("HunyuanImage21Refiner", vec_in_dim=None, patch_size=[1, 1, 1], in_channels=128, out_channels=64)
    return Tiny(model, words(concat_latent_image=random(1, 32, 1, 8, 8)), (64, 1, 8, 8), (64, 1, 9, 7), reference=True)


LETTERING = {"conditioning_byt5small": random(1, 3, LETTERS)}


def hunyuan_15(config: str, **sizes):
    return hunyuan(config, **{"vec_in_dim": None, "out_channels": 32, "patch_size": [1, 1, 1], "guidance_embed": False, "byt5": True,
                              "use_cond_type_embedding": True, "vision_in_dim": 48, **sizes})


def start(channels: int) -> dict:
    """The start of the video as the image-to-video nodes pass it: one frame is known."""
    mask = torch.ones(1, 1, 3, 8, 8)
    mask[:, :, 0] = 0
    return {"concat_latent_image": random(1, channels, 3, 8, 8), "concat_mask": mask}
