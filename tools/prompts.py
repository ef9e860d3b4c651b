"""Prompts of the pack's models for a server's API: {node id: {class_type, inputs}}."""

LABEL = "red circle, blue diamond, green triangle, yellow square"
DEMO = "shapes_dit.safetensors"


def node(kind: str, **inputs) -> dict:
    return {"class_type": kind, "inputs": inputs}


def cache(model: list, preset: str = "auto", **widgets) -> dict:
    """ToCa Cache with its widgets as they come, but for those given."""
    usual = dict(enable=True, fresh_ratio=0.1, cycle=3, mlp_share=1.6, cross_attn_share=0.6, layer_slope=0.0, score="auto", step_slope=0.0,
                 cycle_rule="fixed", staleness_weight=0.25, spread_bonus=0.4, spread_cell=2, start_percent=0.0, end_percent=1.0,
                 warmup_steps=1, verbose=False)
    return node("ToCaCache", model=model, preset=preset, **{**usual, **widgets})


def sampling(model: list, conditioning: tuple[list, list], latent: dict, seed: int, steps: int, sampler: str, cfg: float = 2.0) -> dict:
    """The nodes "latent" and "sample"."""
    return {"latent": latent, "sample": node("KSampler", model=model, positive=conditioning[0], negative=conditioning[1], seed=seed,
                                             latent_image=["latent", 0], steps=steps, cfg=cfg, sampler_name=sampler, scheduler="normal",
                                             denoise=1.0)}


def demo_prompt(seed: int, steps: int = 12, sampler: str = "euler", size: tuple[int, int] = (64, 64), model: str = DEMO,
                prefix: str = "picture", report: bool = False, label: str = LABEL, **widgets) -> dict:
    """A class-conditional DiT, whose latents are pictures of this size (width, height), with ToCa Cache; "save" saves it.

    report: ToCa Report and its words too, in the nodes "report" and "text".
    """
    latent = node("EmptyLatentImage", width=size[0], height=size[1], batch_size=1)
    prompt = {"load": node("ToCaLoadDiT", model_name=model, weight_dtype="default", num_heads=0),
              "class": node("ToCaDiTClass", model=["load", 0], label=label), "cache": cache(["load", 0], **widgets),
              **sampling(["cache", 0], (["class", 0], ["class", 1]), latent, seed, steps, sampler), **saving("pixel_space", prefix)}
    if report:
        prompt |= {"report": node("ToCaReport", model=["cache", 0], after=["sample", 0]), "text": node("PreviewAny", source=["report", 1])}
    return prompt


def flux_prompt(seed: int, steps: int = 12, sampler: str = "euler", size: tuple[int, int] = (64, 64), prefix: str = "picture",
                **widgets) -> dict:
    """The tiny FLUX that `run.py tiny` writes, likewise."""
    latent = node("EmptySD3LatentImage", width=size[0], height=size[1], batch_size=1)
    return {"load": node("UNETLoader", unet_name="tiny_flux.safetensors", weight_dtype="default"),
            "clip": node("CLIPLoader", clip_name="tiny_clip.pt", type="stable_diffusion"),
            "text": node("CLIPTextEncode", clip=["clip", 0], text="a cat"), "empty": node("CLIPTextEncode", clip=["clip", 0], text=""),
            "cache": cache(["load", 0], **widgets),
            **sampling(["cache", 0], (["text", 0], ["empty", 0]), latent, seed, steps, sampler), **saving("tiny_flux_vae.pt", prefix)}


def saving(vae: str, prefix: str) -> dict:
    return {"vae": node("VAELoader", vae_name=vae), "decode": node("VAEDecode", samples=["sample", 0], vae=["vae", 0]),
            "save": node("SaveImage", images=["decode", 0], filename_prefix=prefix)}
