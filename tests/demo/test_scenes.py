"""The second demo model: its pictures, their captions, the checker, and the host's FLUX class on them, tiny and with random weights."""

import math
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from benchmarks import measuring, variants
from demo import scene_checker, scenes, scenes_model, scenes_task, training
from demo.subjects import SCENES
from tools.pack import pack_module

seam, settings, config, systems = (
    pack_module(name) for name in ("nodes.host.seam", "nodes.host.settings", "toca_core.config", "nodes.systems"))
CAPTIONS = ["red circle, blue square, green diamond", "yellow triangle, red circle"]
STEPS = 6


def drawn(captions, seed=0):
    """Pictures in 0..1."""
    return (scenes.draw(scenes.indices(captions), torch.Generator().manual_seed(seed)) + 1) / 2


# ---- pictures, captions and the checker ----


def test_drawn_scenes_are_read_back():
    captions = SCENES.ask(100)
    assert sum(SCENES.right(drawn(captions), captions)) >= 99
    assert {len(caption.split(", ")) for caption in captions} == {2, 3}


def test_another_order_and_a_missing_object_are_seen():
    first, second = "red circle, blue square", "blue square, red circle"
    assert SCENES.right(drawn([first, second]), [second, first]) == [False, False]
    assert SCENES.right(drawn([first, first]), [f"{first}, green diamond", "red circle"]) == [False, False]


def test_what_is_no_object_is_left_out():
    picture = torch.full((3, scenes.HEIGHT, scenes.WIDTH), 0.5)
    assert scene_checker.read(picture) == ""
    picture[0, 4:7, 4:7] = 1                                        # a red speck of nine pixels
    assert scene_checker.read(picture) == ""


def test_patches_that_touch_at_a_corner_are_two():
    mask = torch.zeros(8, 16, dtype=torch.bool)
    mask[:4, 8:12] = mask[4:, 4:8] = True
    assert [patch.nonzero()[0].tolist() for patch in scene_checker.patches(mask)] == [[4, 4], [0, 8]]


def test_captions_and_indices_are_the_same():
    objects = scenes.choose(50, torch.Generator().manual_seed(1))
    assert torch.equal(scenes.indices([scenes.caption(row) for row in objects]), objects)
    assert scenes.indices([""]).tolist() == [[scenes.NOTHING] * 3]


@pytest.mark.parametrize("caption", ["red", "purple circle", ", ".join(["red circle"] * 4)])
def test_a_caption_of_nothing_known_is_refused(caption):
    with pytest.raises(ValueError, match=f"'{caption}' is no list of up to 3 objects"):
        scenes.indices([caption])


def test_tokens_tell_the_order_and_the_pooled_words_do_not():
    tokens, pooled = scenes.embed(scenes.indices(["red circle, blue square", "blue square, red circle", ""]))
    assert tokens.shape == (3, scenes.TOKENS, scenes.CHANNELS) and pooled.shape == (3, len(scenes.WORDS))
    assert not torch.equal(tokens[0], tokens[1]) and torch.equal(pooled[0], pooled[1])
    assert pooled.sum(1).tolist() == [4, 4, 0]
    assert [[scenes.WORDS[index] if index < len(scenes.WORDS) else "" for index in row[:, :-3].argmax(1)] for row in tokens] == [
        ["red", "circle", "blue", "square", "", ""], ["blue", "square", "red", "circle", "", ""], [""] * 6]


# ---- the model ----


@pytest.fixture(scope="module")
def subject(tmp_path_factory):
    """The scenes with a model of one double and two single blocks."""
    import comfy.ldm.flux.model
    torch.manual_seed(0)
    network = comfy.ldm.flux.model.Flux(**scenes_model.unet_config(64, 1, 2), dtype=torch.float32, operations=torch.nn)
    path = tmp_path_factory.mktemp("scenes") / "tiny.safetensors"
    save_file(network.state_dict(), path)
    return replace(SCENES, file=path)


@pytest.fixture(scope="module")
def tiny(subject):
    return subject.load()


def sample(model, captions=CAPTIONS, steps=STEPS):
    import comfy.sample
    latent = SCENES.empty_latent(len(captions))
    noise = comfy.sample.prepare_noise(latent, 0)
    with torch.inference_mode():
        return comfy.sample.sample(model, noise, steps, 2.0, "euler", "normal", SCENES.conditioning(captions),
                                   SCENES.conditioning([SCENES.nothing]), latent, disable_pbar=True, seed=0)


def test_the_loader_makes_the_hosts_own_flux(tiny):
    import comfy.ldm.flux.model
    network = tiny.model.diffusion_model
    assert type(network) is comfy.ldm.flux.model.Flux and systems.system_of(network).name == "flux"
    assert (len(network.double_blocks), len(network.single_blocks), network.num_heads) == (1, 2, 1)


def test_it_samples_and_hears_the_caption(tiny):
    pictures, others = sample(tiny), sample(tiny, CAPTIONS[::-1])
    assert pictures.shape == (2, 3, scenes.HEIGHT, scenes.WIDTH) and pictures.isfinite().all()
    assert not torch.allclose(pictures, others, atol=1e-3)


@pytest.mark.parametrize("level", ["module", "stack", "output"])
def test_every_level_caches_it(tiny, level):
    reports = []
    chosen = config.ToCaConfig(level=level, cycle=2, fresh_ratio=0.3, score="self_attn")
    cached = sample(seam.install(tiny, settings.Settings("custom", chosen), reports.append))
    assert reports[0].calls("partial") > 0 and not reports[0].note
    assert cached.isfinite().all() and not torch.equal(cached, sample(tiny))


def test_the_bundled_file_draws_what_it_is_asked_for():
    asked = SCENES.ask(4)
    assert SCENES.right((sample(SCENES.load(), asked, 20).float() + 1).div(2).clamp(0, 1), asked) == [True] * 4


def test_another_models_file_is_refused(tmp_path):
    save_file({"weight": torch.zeros(2, 2)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="is no model of the demo's scenes"):
        scenes_model.load_scenes(str(tmp_path / "other.safetensors"))


def test_a_missing_file_is_said_with_the_remedy(tmp_path):
    with pytest.raises(FileNotFoundError, match="is missing: restore it .* python run.py train --model scenes"):
        SCENES.load(tmp_path / "scenes.safetensors")


def test_it_is_measured_as_the_first_model_is(subject):
    """Plain, published ToCa and level stack; evaluations are counted in the double blocks, both streams."""
    chosen = [variant for variant in variants.as_published("euler", STEPS, SCENES.paper) if variant.setting == "N = 3"][:1]
    chosen += [variant for variant in variants.own_variants("euler", STEPS, SCENES.paper) if variant.setting == "cycle 2"][:1]
    [batch] = measuring.make_batches(2, 2, subject)
    with measuring.counted(subject.load(), subject) as (model, work):
        comparison = measuring.Comparison(model, work, "euler", STEPS, chosen, cfg=2.0)
        comparison.count_flops(batch)
        comparison.add(batch)
    plain, *cached = comparison.rows()
    assert plain["psnr_mean"] == math.inf and plain["model_calls"] == plain["evaluations"] == STEPS and plain["accuracy"] == 0
    assert all(STEPS > row["model_calls"] >= 1 and row["flops_speedup"] > 1 and 5 < row["psnr_mean"] < 90 for row in cached)


# ---- training ----


def test_a_short_training_gives_a_file_that_loads(tmp_path, short_training):
    training.train(scenes_task.TASK, short_training(5), 2, tmp_path / "scenes.safetensors")
    model = scenes_model.load_scenes(str(tmp_path / "scenes.safetensors"))
    assert sample(model, steps=2).isfinite().all()
    assert model.model.diffusion_model.final_layer.linear.weight.any()          # it starts at zero


def test_what_is_dropped_says_nothing():
    told = scenes_task.drop((scenes.indices(CAPTIONS),), torch.tensor([True, False]))
    assert [scenes.caption(row) for row in told[0]] == ["", CAPTIONS[1]]


def test_the_error_is_that_of_the_velocity():
    """A network that knows noise and picture makes none; one that says nothing makes the mean square of both."""
    x0, noise, t = torch.full((2, 3, 4, 4), 0.5), torch.full((2, 3, 4, 4), -1.0), torch.full((2, 1, 1, 1), 0.3)
    told = (scenes.indices(CAPTIONS),)
    assert scenes_task.error(lambda *args, **kwargs: noise - x0, x0, noise, t, told) == 0
    assert scenes_task.error(lambda *args, **kwargs: torch.zeros_like(x0), x0, noise, t, told) == pytest.approx(1.5 ** 2)


def test_fast_time_features_stay_out():
    weight = torch.nn.Parameter(torch.ones(3, 256))
    training.use_slow_features(weight)
    weight.sum().backward()
    rates = torch.exp(-math.log(10000) * torch.arange(128) / 128).repeat(2)
    fast = 2 * math.pi / rates < training.SHORTEST_PERIOD
    assert not weight[:, fast].any() and not weight.grad[:, fast].any() and weight[:, ~fast].all() and fast.any()
