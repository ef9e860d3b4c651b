"""Cosmos 1, Cosmos Predict 2 and Anima."""

import comfy.ldm.anima.model
import comfy.ops
import torch

from tools.zoo.building import Tiny, build, first_frame, texts, tiny

WORDS = 32
COMMON = {"max_img_h": 240, "max_img_w": 240, "max_frames": 128, "out_channels": 16, "patch_spatial": 2, "patch_temporal": 1,
          "concat_padding_mask": True, "model_channels": 96, "num_blocks": 4, "num_heads": 3, "crossattn_emb_channels": WORDS,
          "pos_emb_cls": "rope3d", "pos_emb_learnable": True, "use_adaln_lora": True, "adaln_lora_dim": 16}
FIRST = {**COMMON, "block_x_format": "THWBD", "affline_emb_norm": True, "extra_per_block_abs_pos_emb": True,
         "extra_per_block_abs_pos_emb_type": "learnable"}
SECOND = {**COMMON, "rope_enable_fps_modulation": False}
RANGES = ("seq", "dim_spatial_range", "dim_temporal_range")     # buffers of positions


def cosmos(config: str, sizes: dict, trim=None):
    return build(config, sizes, trim=trim, untouched=RANGES)


@tiny(of="comfy.ldm.cosmos.model.GeneralDIT")
def cosmos1():
    return Tiny(cosmos("CosmosT2V", {**FIRST, "in_channels": 16}), texts(WORDS), (16, 2, 8, 8), (16, 3, 10, 6))


@tiny(of="comfy.ldm.cosmos.model.GeneralDIT")
def cosmos1_i2v():
    return Tiny(cosmos("CosmosI2V", {**FIRST, "in_channels": 17}), texts(WORDS), (16, 2, 8, 8), (16, 3, 10, 6), reference=True,
                latent=first_frame)


@tiny(of="comfy.ldm.cosmos.predict2.MiniTrainDIT")
def cosmos2():
    return Tiny(cosmos("CosmosT2IPredict2", {**SECOND, "in_channels": 16}), texts(WORDS), (16, 1, 16, 16), (16, 1, 17, 13))


@tiny(of="comfy.ldm.cosmos.predict2.MiniTrainDIT")
def cosmos2_i2v():
    """With a reference each frame has a timestep of its own."""
    return Tiny(cosmos("CosmosI2VPredict2", {**SECOND, "in_channels": 17}), texts(WORDS), (16, 3, 8, 8), (16, 3, 9, 7), reference=True,
                latent=first_frame)


@tiny(of="comfy.ldm.anima.model.Anima")
def anima():
    """The host runs its text through an adapter (six blocks in the real one) once for all steps."""
    def trim(model):
        model.llm_adapter = comfy.ldm.anima.model.LLMAdapter(source_dim=WORDS, target_dim=WORDS, model_dim=WORDS, num_layers=1, num_heads=2,
                                                             operations=comfy.ops.disable_weight_init)
    conditioning = texts(WORDS, t5xxl_ids=torch.arange(5), t5xxl_weights=torch.ones(5))
    return Tiny(cosmos("Anima", {**SECOND, "in_channels": 16}, trim), conditioning, (16, 1, 16, 16), (16, 1, 17, 13))
