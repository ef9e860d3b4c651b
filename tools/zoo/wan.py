"""Wan 2.1 and 2.2."""

from types import SimpleNamespace

import comfy.ldm.wan.model
import comfy.ldm.wan.model_animate
import comfy.ops
import torch

from tools.zoo.building import Tiny, build, first_frame, random, text, texts, tiny

MODEL = "comfy.ldm.wan.model."
SHAPE, ODD = (16, 3, 8, 8), (16, 3, 9, 7)
WORDS = 32                                  # width of the text


def wan(config: str, trim=None, **sizes):
    usual = {"dim": 64, "ffn_dim": 128, "num_heads": 4, "num_layers": 4, "text_dim": WORDS, "in_dim": 16, "out_dim": 16, "freq_dim": 64}
    return build(config, {**usual, **sizes}, trim=trim)


def words(always: dict | None = None, **reference):
    """A `Tiny.conditioning`: text and what is passed always, and what only with a reference."""
    def conditioning(tokens=7, negative=7, with_reference=False):
        more = {**(always or {}), **(reference if with_reference else {})}
        return text(tokens, WORDS, 1, **more), text(negative, WORDS, 2, **more)
    return conditioning


def seen(seed: int = 9):
    """What CLIP Vision gives, of 5 tokens."""
    return SimpleNamespace(penultimate_hidden_states=random(1, 5, 1280, seed=seed))


def start(channels: int = 16, frames: int = 3) -> dict:
    """The start of the video as the image-to-video nodes pass it: one frame is known."""
    mask = torch.ones(1, 1, frames, 8, 8)
    mask[:, :, 0] = 0
    return {"concat_latent_image": random(1, channels, frames, 8, 8), "concat_mask": mask}


@tiny(of=MODEL + "WanModel")
def wan_t2v():
    """The reference is in context (Bernini): its tokens follow the video's."""
    return Tiny(wan("WAN21_T2V"), words(context_latents=[random(1, 16, 1, 8, 8)]), SHAPE, ODD, reference=True)


@tiny(of=MODEL + "WanModel")
def wan_i2v():
    return Tiny(wan("WAN21_I2V", in_dim=36), words(**start(), clip_vision_output=seen()), SHAPE, ODD, reference=True)


@tiny(of=MODEL + "WanModel")
def wan_fun_control():
    """The reference's tokens precede the video's (`ref_conv`)."""
    model = wan("WAN21_FunControl2V", in_dim=48, in_dim_ref_conv=16)
    more = {"reference_latents": [random(1, 16, 1, 8, 8)], "concat_latent_image": random(1, 32, 3, 8, 8), "clip_vision_output": seen()}
    return Tiny(model, words(**more), SHAPE, ODD, reference=True)


@tiny(of=MODEL + "WanModel")
def wan22_5b():
    """With a reference each frame has a timestep of its own."""
    return Tiny(wan("WAN22_T2V", in_dim=48, out_dim=48), texts(WORDS), (48, 3, 8, 8), (48, 3, 9, 7), reference=True, latent=first_frame)


@tiny(of=MODEL + "WanModel")
def wan_flow_rvs():
    """Goes from a latent, not from noise."""
    def latent(batch, shape, reference):
        return random(batch, *shape), None
    return Tiny(wan("WAN21_FlowRVS", model_type="flow_rvs"), texts(WORDS), SHAPE, ODD, latent=latent)


@tiny(of="comfy.ldm.wan.ar_model.CausalWanModel")
def wan_causal():
    return Tiny(wan("WAN21_CausalAR_T2V"), texts(WORDS), SHAPE, ODD)


@tiny(of=MODEL + "VaceWanModel")
def wan_vace():
    more = {"vace_frames": [random(1, 32, 3, 8, 8)], "vace_mask": [torch.ones(1, 64, 3, 8, 8)], "vace_strength": [1.0]}
    return Tiny(wan("WAN21_Vace", vace_layers=2, vace_in_dim=96), words(**more), SHAPE, (16, 3, 10, 6), reference=True)


@tiny(of=MODEL + "CameraWanModel")
def wan_camera():
    more = {**start(), "camera_conditions": random(1, 24, 3, 64, 64), "clip_vision_output": seen()}
    return Tiny(wan("WAN21_Camera", in_dim=32), words(**more), SHAPE, ODD, reference=True)


@tiny(of=MODEL + "CameraWanModel")
def wan22_camera():
    return Tiny(wan("WAN22_Camera", in_dim=36), words(**start(), camera_conditions=random(1, 24, 3, 64, 64)), SHAPE, ODD, reference=True)


@tiny(of=MODEL + "WanModel_S2V")
def wan_s2v():
    """Speech is added after some blocks, the last one too; reference and motion tokens follow the video's."""
    model = wan("WAN22_S2V", audio_dim=32, num_audio_token=4, audio_inject_layers=[0, 2, 3])
    more = {"reference_latents": [random(1, 16, 1, 8, 8)], "control_video": random(1, 16, 3, 8, 8, seed=5),
            "reference_motion": random(1, 16, 19, 8, 8, seed=6)}
    return Tiny(model, words({"audio_embed": random(1, 25, 32, 16)}, **more), SHAPE, ODD, reference=True)


@tiny(of=MODEL + "HumoWanModel")
def wan_humo():
    """The reference's tokens follow the video's."""
    def trim(model):
        model.audio_proj = comfy.ldm.wan.model.AudioProjModel(seq_len=2, blocks=1, channels=32, intermediate_dim=32, output_dim=1536,
                                                              context_tokens=16, operations=comfy.ops.disable_weight_init)
    more = {"reference_latents": [random(1, 16, 1, 8, 8)]}
    return Tiny(wan("WAN21_HuMo", trim), words({"audio_embed": random(1, 3, 2, 1, 32)}, **more), SHAPE, ODD, reference=True)


@tiny(of="comfy.ldm.wan.model_animate.AnimateWanModel")
def wan_animate():
    """A face is looked at after every fifth block; here it is a picture of 8 x 8, 512 x 512 in the real one."""
    def trim(model):
        parts, how = comfy.ldm.wan.model_animate, {"operations": comfy.ops.disable_weight_init}
        layers = [parts.ConvLayer(3, 8, 1, **how), parts.ResBlock(8, 512, **how), parts.EqualConv2d(512, 512, 4, bias=False, **how)]
        model.motion_encoder.enc.net_app.convs = torch.nn.ModuleList(layers)
    more = {**start(), "pose_video_latent": random(1, 16, 2, 8, 8), "face_video_pixels": random(1, 3, 5, 8, 8)}
    return Tiny(wan("WAN22_Animate", trim, in_dim=36, num_layers=5), words(**more), SHAPE, ODD, reference=True)


@tiny(of=MODEL + "SCAILWanModel")
def wan_scail():
    """The reference is a frame before the video, the pose's tokens (half the size) follow it."""
    more = {"reference_latents": [random(1, 16, 1, 8, 8)], "pose_video_latent": random(1, 16, 3, 4, 4), "clip_vision_output": seen()}
    return Tiny(wan("WAN21_SCAIL", in_dim=20), words(**more), SHAPE, ODD, reference=True)


@tiny(of=MODEL + "SCAIL2WanModel")
def wan_scail2():
    more = {"reference_latents": [random(1, 16, 1, 8, 8)], "pose_video_latent": random(1, 16, 3, 4, 4), "clip_vision_output": seen(),
            "driving_mask_28ch": random(1, 3, 28, 4, 4), "ref_mask_28ch": random(1, 4, 28, 8, 8), "ref_mask_flag": True}
    return Tiny(wan("WAN21_SCAIL2", in_dim=20), words(**more), SHAPE, ODD, reference=True)


@tiny(of="comfy.ldm.wan.model_wandancer.WanDancerModel")
def wan_dancer():
    """Music is added after some blocks; the tokens of a frame must divide by 8."""
    model = wan("WAN22_WanDancer", in_dim=36, audio_inject_layers=[0, 2], music_dim=32, music_latent_dim=32, music_heads=2)
    more = {**start(), "clip_vision_output": seen(), "clip_vision_output_ref": seen(4)}
    return Tiny(model, words({"audio_embed": random(1, 12, 35)}, **more), SHAPE, (16, 3, 15, 9), reference=True)
