"""We sample as the released DiT does: whole runs of the authors' code, with ToCa and without, from the same noise."""

import pytest
import torch
from safetensors import safe_open


@pytest.fixture(scope="module")
def run(recording):
    """(settings, tensors) of a DDIM run with guidance 1.5 on the first three channels."""
    with safe_open(recording("dit")[1], "pt") as file:
        return file.metadata(), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118, no dict


@pytest.fixture
def load(recording, run, monkeypatch):
    """load(guidance_channels) -> MODEL, through the node ToCa Load DiT."""
    import folder_paths

    from tools.pack import pack_module
    weights = recording("dit")[0]
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "diffusion_models", ([str(weights.parent)], {".safetensors"}))
    node = pack_module("nodes.toca_load_dit").ToCaLoadDiT
    return lambda *channels: node.execute(weights.name, "fp32", int(run[0]["heads"]), *channels).result[0]


def sample(pack, model, run, cfg=None):
    """The recorded run in the host, where euler over the noise levels of its timesteps is DDIM -> the model's latent (1, 4, H, W)."""
    import comfy.sample
    import comfy.samplers
    settings, tensors = run
    cfg = float(settings["cfg"]) if cfg is None else cfg
    sigmas = torch.cat([model.get_model_object("model_sampling").sigmas[tensors["t"][:, 0].long()], torch.zeros(1)])
    positive, negative = (pack.dit_loader.conditioning([int(label)]) for label in tensors["y"])
    noise, euler = tensors["noise"][:1], comfy.samplers.sampler_object("euler")
    with torch.inference_mode():
        result = comfy.sample.sample_custom(
            model, noise, cfg, euler, sigmas, positive, negative, torch.zeros_like(noise), disable_pbar=True, seed=0)
    return model.get_model_object("latent_format").process_in(result)


def difference(result, expected):
    """Relative L2 to the conditional half of a recorded end (2, 4, H, W)."""
    return ((result - expected[:1]).norm() / expected[:1].norm()).item()


def test_without_toca_it_ends_where_the_released_sampler_does(pack, load, run):
    assert difference(sample(pack, load("first three"), run), run[1]["sample_uncached"]) < 1e-3


def test_with_toca_it_ends_where_the_authors_toca_does(pack, load, run):
    settings, tensors = run
    preset = pack.published.DIT_DDIM_50
    assert (preset.fresh_ratio, preset.cycle, preset.staleness_weight) == tuple(float(settings[name]) for name in ("R", "N", "soft"))
    reports = []
    model = pack.seam.install(load("first three"), pack.settings.Settings("paper", preset), reports.append)
    result = sample(pack, model, run)
    assert difference(result, tensors["sample"]) < 1e-3
    assert difference(result, tensors["sample_uncached"]) > 0.01       # the cache is at work
    assert [step.kind == "full" for step in reports[0].steps] == tensors["is_full"].bool().tolist()


def test_by_default_guidance_steers_every_channel(pack, load, run):
    """As for all other models, and as in workflows from before there was a choice."""
    default, every, three = (sample(pack, load(*channels), run) for channels in ((), ("all",), ("first three",)))
    assert torch.equal(default, every)
    assert difference(every, run[1]["sample_uncached"]) > 0.01
    assert not torch.equal(every[:, 3], three[:, 3])


def test_without_guidance_the_choice_makes_no_difference(pack, load, run):
    every, three = (sample(pack, load(channels), run, cfg=1.0) for channels in ("all", "first three"))
    torch.testing.assert_close(every, three, rtol=1e-4, atol=1e-2)
