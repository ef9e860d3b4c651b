"""Open-Sora 1.2's transformer: what it computes, how it is sampled and guided, videos that begin with a picture, its nodes."""

from types import SimpleNamespace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import comfy.ldm.modules.attention
import comfy.ops
import comfy.sample
import comfy.samplers

from tools.pack import pack_module
from tools.tiny import tiny_open_sora

CHANNELS, TOKENS = 64, 12                       # of the captions of the tiny model


@pytest.fixture(scope="module")
def parts():
    return SimpleNamespace(
        stdit3=pack_module("nodes.models.stdit3"), loader=pack_module("nodes.models.stdit3_loader"),
        loading=pack_module("nodes.models.loading"), latent=pack_module("nodes.toca_open_sora_latent"),
        conditioning=pack_module("nodes.toca_open_sora_conditioning"), video=pack_module("nodes.models.open_sora_video"))


@pytest.fixture(scope="module")
def tiny_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("opensora") / "tiny.safetensors"
    tiny_open_sora(path, caption=CHANNELS, tokens=TOKENS)
    return path


@pytest.fixture(scope="module")
def patcher(parts, tiny_path):
    return parts.loader.load_stdit3(str(tiny_path))


@pytest.fixture(scope="module")
def model(patcher):
    return patcher.model.diffusion_model


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


class Heard:
    """The first inputs of a module, call by call."""

    def __init__(self, module):
        self.inputs, self.module = [], module

    def __enter__(self):
        self.hook = self.module.register_forward_pre_hook(lambda module, args: self.inputs.append(args[0].clone()))
        return self.inputs

    def __exit__(self, *error):
        self.hook.remove()


# ---- what it computes ----

def test_full_steps_of_the_recording(parts, recording):
    """Steps at which the recorded run computed everything are the plain model's, in Open-Sora's own sign."""
    weights, io = recording("stdit3")
    model, recorded = parts.loader.load_stdit3(str(weights), "fp32").model.diffusion_model, load_file(io)
    full = recorded["is_full_attn_cross_mlp"].all(1).nonzero().flatten().tolist()
    assert full[:3] == [0, 1, 2]
    size = {name: float(recorded[name]) for name in ("fps", "height", "width")}
    for step in full:
        angle, t = recorded["theta"][step], recorded["t"][step]
        x = (angle.cos() * recorded["x_a"] + angle.sin() * recorded["x_b"]).repeat(2, 1, 1, 1, 1)
        with torch.inference_mode():
            output = model.velocity(x, t.repeat(2), recorded["y"][:, 0], **size)
        expected = recorded["out"][step]
        assert (output - expected).norm() / expected.norm() < 1e-5


def velocity(model, x, t=700.0, context=None, **options):
    context = noise(len(x), TOKENS, CHANNELS, seed=9) if context is None else context
    with torch.inference_mode():
        return model.velocity(x, torch.full((len(x),), t), context, **options)


def test_odd_sizes_are_padded_with_zeros_and_cut(model):
    x = noise(1, 4, 3, 5, 7)
    padded = torch.nn.functional.pad(x, (0, 1, 0, 1))
    size = {"height": 40, "width": 56}
    output = velocity(model, x, **size)
    assert output.shape == x.shape
    assert torch.equal(output, velocity(model, padded, **size)[..., :5, :7])
    assert torch.equal(output, velocity(model, x))                  # eight pixels per latent where no size is given


def test_size_and_frame_rate_matter(model):
    x = noise(1, 4, 3, 6, 6)
    outputs = [velocity(model, x, **options) for options in ({}, {"height": 60, "width": 48}, {"fps": 8.0}, {"height": 48, "width": 48})]
    assert torch.equal(outputs[0], outputs[3])
    assert not torch.allclose(outputs[0], outputs[1], atol=1e-3) and not torch.allclose(outputs[0], outputs[2], atol=1e-3)


@pytest.mark.parametrize("kind", ["basic", "sub_quad", "split", "pytorch"])
def test_tokens_left_out_of_a_caption_do_not_count(model, kind):
    """With every attention of the host that runs on a CPU."""
    attention = getattr(comfy.ldm.modules.attention, f"attention_{kind}")
    options = {"optimized_attention_override": lambda chosen, *args, **kwargs: attention(*args, **kwargs)}
    x, caption, keep = noise(2, 4, 2, 4, 4), noise(2, 7, CHANNELS, seed=2), torch.ones(2, 7)
    keep[0, 4:] = 0
    output = velocity(model, x, context=caption, attention_mask=keep, transformer_options=options)
    close(output[:1], velocity(model, x[:1], context=caption[:1, :4]))
    close(output[1:], velocity(model, x[1:], context=caption[1:]))


def test_cross_attention_takes_any_of_the_tokens(model):
    x, y = noise(2, 24, 64), noise(2, 7, 64, seed=1)
    some = torch.tensor([3, 0, 17])
    for block in (model.spatial_blocks[0], model.temporal_blocks[1]):
        with torch.inference_mode():
            torch.testing.assert_close(block.cross_attn(x[:, some], y), block.cross_attn(x, y)[:, some])


def test_what_the_modules_of_a_block_receive(model):
    """All tokens first; the projection inside self-attention gets them as rows of frames or of positions."""
    frames, spots, shapes = 3, 6, []
    blocks = (model.spatial_blocks[0], model.temporal_blocks[0])
    heard = [Heard(block.get_submodule(name)) for block in blocks for name in ("attn", "attn.qkv", "cross_attn", "mlp")]
    for listener in heard:
        listener.__enter__()
    velocity(model, noise(2, 4, frames, 4, 6))
    for listener in heard:
        listener.__exit__()
        shapes.append(tuple(listener.inputs[0].shape))
    tokens = (2, frames * spots, 64)
    assert shapes == [tokens, (2 * frames, spots, 64), tokens, tokens, tokens, (2 * spots, frames, 64), tokens, tokens]


# ---- known frames ----


def until(*values):
    return torch.tensor(values, dtype=torch.int32).view(1, 1, -1, 1, 1)


def test_frames_all_known_or_all_to_draw(model):
    x, clean = noise(1, 4, 3, 4, 4), noise(1, 4, 3, 4, 4, seed=5)
    drawn, known = ({"known": clean, "denoise_until": until(value, value, value)} for value in (1000, 0))
    close(velocity(model, x, **drawn), velocity(model, x))
    close(velocity(model, x, t=1000.0001, **drawn), velocity(model, x, t=1000.0001))                    # the start, rounded up
    close(velocity(model, x, **known), velocity(model, clean, t=0.0))


def test_a_known_frame_is_modulated_at_timestep_0(model):
    """Before anything mixes frames, the known ones are as in a run at timestep 0 and the others as in the run itself."""
    x = noise(1, 4, 3, 4, 4)
    rows = []
    for options in ({"known": x, "denoise_until": until(0, 1000, 500)}, {"t": 0.0}, {}):
        with Heard(model.spatial_blocks[0].attn.qkv) as inputs:
            velocity(model, x, **options)
        rows.append(inputs[0])                                      # (frames, S, D)
    mixed, at_zero, at_700 = rows
    close(mixed, torch.stack([at_zero[0], at_700[1], at_zero[2]]))
    assert not torch.allclose(at_zero, at_700, atol=1e-2)


# ---- sampling ----

def conditioning(parts, tokens=TOKENS, **options):
    positive = [[noise(1, tokens, CHANNELS, seed=7), options]]
    return positive, [[torch.zeros(1, tokens, CHANNELS), {**options, parts.loader.NULL_CAPTION: True}]]


def sample(patcher, latent, positive, negative, steps=6, cfg=7.0, sampler="euler", noise_mask=None, seed=3):
    """The host's own KSampler path."""
    with torch.inference_mode():
        return comfy.sample.sample(patcher, noise(*latent.shape, seed=seed), steps, cfg, sampler, "simple", positive, negative, latent,
                                   noise_mask=noise_mask, disable_pbar=True, seed=seed).clone()


def test_the_hosts_euler_is_the_released_sampler(parts, patcher, model):
    """z += v (t_i - t_i+1) with v = null + 7 (prompt - null), where the null caption is cut as long as the prompt."""
    tokens = TOKENS - 3
    positive, negative = conditioning(parts, tokens, **{parts.loader.FPS: 12.0, parts.loader.PIXELS: (50, 66)})
    with Heard(model.x_embedder) as calls:
        result = sample(patcher, torch.zeros(1, 4, 5, 6, 8), positive, negative)
    assert [len(x) for x in calls] == [2] * 6                       # both sides of the guidance in one call
    z, times = noise(1, 4, 5, 6, 8, seed=3), comfy.samplers.calculate_sigmas(patcher.model.model_sampling, "simple", 6).tolist()
    captions = torch.cat([positive[0][0], model.y_embedder.y_embedding[None, :tokens]])
    for now, after in zip(times, times[1:], strict=False):
        v = velocity(model, z.repeat(2, 1, 1, 1, 1), now * 1000, captions, fps=12.0, height=50, width=66)
        z = z + (v[1:] + 7 * (v[:1] - v[1:])) * (now - after)
    torch.testing.assert_close(result, z, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("sampler", ["heun", "dpmpp_2m", "euler_ancestral"])
def test_other_samplers_and_batches(parts, patcher, sampler):
    latent = torch.zeros(2, 4, 3, 5, 7)
    result, again = (sample(patcher, latent, *conditioning(parts), sampler=sampler, steps=4) for _ in range(2))
    assert result.shape == latent.shape and torch.isfinite(result).all() and torch.equal(result, again)
    assert not torch.allclose(result[0], result[1], atol=0.1)


def test_a_prompt_may_be_the_negative(parts, patcher):
    positive, null = conditioning(parts)
    own = [[noise(1, TOKENS + 4, CHANNELS, seed=8), {}]]            # of another length, so in a call of its own
    latent = torch.zeros(1, 4, 2, 4, 4)
    assert not torch.allclose(sample(patcher, latent, positive, own), sample(patcher, latent, positive, null), atol=0.1)


def test_the_hosts_conditioning_nodes_on_the_null_caption(parts, patcher):
    """A prompt zeroed out is the null caption; the null caption mixed with another is refused, where it can be told."""
    import nodes
    positive, null = conditioning(parts)
    latent = torch.zeros(1, 4, 2, 4, 4)
    zeroed = nodes.ConditioningZeroOut().zero_out(positive)[0]
    assert torch.equal(sample(patcher, latent, positive, zeroed), sample(patcher, latent, positive, null))
    for mixed in (nodes.ConditioningAverage().addWeighted(null, positive, 0.5)[0], nodes.ConditioningConcat().concat(null, positive)[0]):
        with pytest.raises(ValueError, match="null caption stands alone"):
            sample(patcher, latent, positive, mixed)


def test_a_longer_prompt_keeps_the_mask_of_its_first_part(parts, patcher):
    """As ConditioningConcat leaves it: the mask of the one, the tokens of both."""
    import nodes
    keep = torch.ones(1, TOKENS, dtype=torch.long)
    keep[:, -2:] = 0
    first, second = [[noise(1, TOKENS, CHANNELS, seed=7), {"attention_mask": keep}]], [[noise(1, 4, CHANNELS, seed=8), {}]]
    [[embedding, options]] = nodes.ConditioningConcat().concat(first, second)[0]
    given = patcher.model.extra_conds(noise=torch.zeros(1, 4, 5, 4, 4), cross_attn=embedding, **options)
    assert given["attention_mask"].cond.tolist() == [[*keep[0].tolist(), 1, 1, 1, 1]]


def test_a_picture_is_drawn_at_its_own_frame_rate(parts, patcher):
    def fps(frames, **options):
        given = {"noise": torch.zeros(1, 4, frames, 4, 4), "cross_attn": torch.zeros(1, 3, CHANNELS), **options}
        return patcher.model.extra_conds(**given)["fps"].cond
    assert (fps(1), fps(5), fps(5, **{parts.loader.FPS: 8.0}), fps(1, **{parts.loader.FPS: 8.0})) == (120, 24, 8, 120)


# ---- a video that begins with a picture ----

@pytest.fixture
def begun(parts):
    """A latent of 144p, square, five latent frames, of which the first is given."""
    start = noise(1, 4, 1, 24, 24, seed=21)
    latent = parts.latent.ToCaOpenSoraLatent.execute("144p", "1:1", 17, 2, start_latent={"samples": start}).args[0]
    return start, latent


@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m"])
def test_the_first_frame_stays_and_the_model_sees_it_clean(parts, patcher, model, begun, sampler):
    start, latent = begun
    assert latent["samples"].shape == (2, 4, 5, 24, 24)
    with Heard(model.x_embedder) as seen, Heard(model.t_embedder) as times:
        result = sample(patcher, latent["samples"], *conditioning(parts), sampler=sampler, noise_mask=latent["noise_mask"], steps=4)
    close(result[:, :, :1], start.repeat(2, 1, 1, 1, 1))
    assert all(torch.equal(x[:, :, :1], start.expand(len(x), -1, -1, -1, -1)) for x in seen)
    for t in times:
        by_frame = t.view(-1, 5)
        assert (by_frame[:, 0] == 0).all() and (by_frame[:, 1:] > 0).all()
    free = sample(patcher, torch.zeros_like(latent["samples"]), *conditioning(parts), sampler=sampler, steps=4)
    assert not torch.allclose(result[:, :, 1:], free[:, :, 1:], atol=0.1)


def test_a_frame_that_is_known_until_half_time(parts, patcher, model, begun):
    """Mask 0.5 with the host's Differential Diffusion: clean before t = 500, then (1 - t) x0 + t noise, as the release adds it."""
    from comfy_extras.nodes_differential_diffusion import DifferentialDiffusion
    start, latent = begun
    mask = latent["noise_mask"].clone()
    mask[:, :, 0] = 0.5
    gradual = DifferentialDiffusion.execute(patcher).args[0]
    with Heard(model.x_embedder) as seen, Heard(model.t_embedder) as times:
        sample(gradual, latent["samples"], *conditioning(parts), noise_mask=mask, steps=8)
    first = [t.view(-1, 5)[0].tolist() for t in times]
    assert [t[0] == 0 for t in first] == [t[1] > 500 for t in first] and first[-1][0] > 0
    turn = next(index for index, t in enumerate(first) if t[0] > 0)
    assert all(torch.equal(x[:2, :, :1], start.repeat(2, 1, 1, 1, 1)) for x in seen[:turn])
    t, drawn = first[turn][0] / 1000, noise(2, 4, 5, 24, 24, seed=3)[:, :, :1]
    close(seen[turn][:2, :, :1], (1 - t) * start + t * drawn)


class Quarters:
    """Stands in for Open-Sora's VAE: pictures to latents of its shape by averaging, each frame one latent frame."""

    def encode(self, pixels):
        small = torch.nn.functional.adaptive_avg_pool2d(pixels.movedim(-1, 1), (pixels.shape[1] // 8, pixels.shape[2] // 8))
        return torch.cat([small, small[:, :1]], dim=1).movedim(0, 1)[None]


def test_a_start_image_is_scaled_encoded_and_masked(parts):
    picture = torch.full((1, 300, 500, 4), 0.25)                    # wider than the video: red lies right, green below
    picture[:, :, 250:, 0] = picture[:, 150:, :, 1] = 0.75
    latent, width, height, frames = parts.latent.ToCaOpenSoraLatent.execute("240p", "16:9", 100, 1, picture, Quarters()).args
    assert (width, height, frames) == (426, 240, 102)
    assert latent["samples"].shape == (1, 4, 30, 30, 53) and latent["noise_mask"].shape == (1, 1, 30, 30, 53)
    red, green, blue, again = latent["samples"][0, :, 0]
    assert torch.equal(red, again)
    for part, value in ((blue, 0.25), (red[:, :25], 0.25), (red[:, 28:], 0.75), (green[:14], 0.25), (green[16:], 0.75)):
        torch.testing.assert_close(part, torch.full_like(part, value))
    assert latent["samples"][:, :, 1:].eq(0).all()
    assert latent["noise_mask"][:, :, 0].eq(0).all() and latent["noise_mask"][:, :, 1:].eq(1).all()


# ---- sizes and prompts ----

@pytest.mark.parametrize("resolution, aspect, frames, expected", [
    ("240p", "16:9", 51, (51, (240, 426), (15, 30, 53))), ("720p", "16:9", 102, (102, (720, 1280), (30, 90, 160))),
    ("480p", "9:16", 204, (204, (854, 480), (60, 106, 60))), ("144p", "1:1", 1, (1, (192, 192), (1, 24, 24))),
    ("480p", "25:12", 2, (17, (444, 925), (5, 55, 115))), ("360p", "3:4", 60, (68, (554, 416), (20, 69, 52)))])
def test_the_latent_has_a_trained_size(parts, resolution, aspect, frames, expected):
    latent, width, height, rounded = parts.latent.ToCaOpenSoraLatent.execute(resolution, aspect, frames).args
    assert (rounded, (height, width), tuple(latent["samples"].shape[2:])) == expected
    assert "noise_mask" not in latent


def test_the_sizes_agree_with_their_names(parts):
    for aspect, row in parts.video.SIZES.items():
        width, height = map(int, aspect.split(":"))
        areas = [h * w for h, w in row]
        assert areas == sorted(areas)
        assert all(abs(w / h - width / height) / (width / height) < 0.035 for h, w in row)


@pytest.mark.parametrize("text, scores, expected", [
    ("A  Red\nFox ", (6.5, -1), "a red fox aesthetic score: 6.5."), ("", (-1, -1), ""),
    ("a fox.", (6.25, 5), "a fox. aesthetic score: 6.2. motion score: 5.0."),
    ("a fox, Aesthetic score: 4, motion score: 1", (6.5, 5), "a fox, aesthetic score: 4, motion score: 1")])
def test_scores_are_written_behind_the_prompt(parts, text, scores, expected):
    assert parts.conditioning.caption(text, *scores) == expected


@pytest.fixture(scope="module")
def clip():
    """The host's T5 encoder for CLIPLoader's type pixart, its tokenizer and its classes, with small random weights."""
    import comfy.sd
    from comfy.text_encoders.pixart_t5 import PixArtTokenizer, pixart_te
    target = SimpleNamespace(params={}, clip=pixart_te(dtype_t5=torch.float32), tokenizer=PixArtTokenizer)
    small = {"t5xxl_model_config": {"num_layers": 1, "d_model": CHANNELS, "num_heads": 1, "d_ff": 64}}
    encoder = comfy.sd.CLIP(target, model_options=small)
    generator = torch.Generator().manual_seed(0)
    for weight in encoder.cond_stage_model.parameters():
        weight.data.normal_(std=0.1, generator=generator)
    return encoder


def test_the_prompt_and_the_null_caption(parts, patcher, clip):
    node = parts.conditioning.ToCaOpenSoraConditioning
    positive, negative = node.execute(clip, "A red fox in the snow", 6.5, -1.0, 12.0, 426, 240).args
    embedding, options = positive[0]
    words = len(clip.tokenize("a red fox in the snow aesthetic score: 6.5.")["t5xxl"][0])
    assert embedding.shape == (1, words, CHANNELS) and options.get("attention_mask") is None            # no padding, so no mask
    assert torch.equal(embedding, node.execute(clip, "a red fox  in the snow", 6.5).args[0][0][0])
    assert not torch.equal(embedding, node.execute(clip, "a red fox in the snow", 5.5).args[0][0][0])
    video = torch.zeros(1, 4, 5, 4, 4)
    given, null = (patcher.model.extra_conds(noise=video, cross_attn=cond[0][0], **cond[0][1]) for cond in (positive, negative))
    assert torch.equal(given["c_crossattn"].cond, embedding)
    assert torch.equal(null["c_crossattn"].cond[0], patcher.model.diffusion_model.y_embedder.y_embedding[:words])
    for conds in (given, null):
        assert [conds[key].cond for key in ("fps", "height", "width")] == [12, 240, 426]
    assert torch.isfinite(sample(patcher, video, positive, negative, steps=2)).all()


def test_a_long_prompt_is_cut_before_its_end_token(parts, clip):
    tokens = clip.tokenize("word " * 400)["t5xxl"]
    cut = parts.conditioning.cut(tokens)
    assert len(tokens[0]) > 300 and len(cut[0]) == 300 and cut[0][-1] == tokens[0][-1] and cut[0][:299] == tokens[0][:299]
    positive = parts.conditioning.ToCaOpenSoraConditioning.execute(clip, "word " * 400).args[0]
    assert positive[0][0].shape[1] == 300


# ---- files ----

def released_shapes(hidden=1152, heads=16, depth=28, caption=4096, tokens=300):
    """Names and shapes of hpcai-tech/OpenSora-STDiT-v3, whose names the recorded weights share."""
    shapes = {
        "x_embedder.proj.weight": (hidden, 4, 1, 2, 2), "x_embedder.proj.bias": (hidden,), "rope.freqs": (hidden // heads // 2,),
        "t_block.1.weight": (6 * hidden, hidden), "t_block.1.bias": (6 * hidden,), "y_embedder.y_embedding": (tokens, caption),
        "y_embedder.y_proj.fc1.weight": (hidden, caption), "y_embedder.y_proj.fc1.bias": (hidden,),
        "y_embedder.y_proj.fc2.weight": (hidden, hidden), "y_embedder.y_proj.fc2.bias": (hidden,),
        "final_layer.linear.weight": (32, hidden), "final_layer.linear.bias": (32,), "final_layer.scale_shift_table": (2, hidden)}
    for name in ("t_embedder", "fps_embedder"):
        shapes |= {f"{name}.mlp.0.weight": (hidden, 256), f"{name}.mlp.0.bias": (hidden,),
                   f"{name}.mlp.2.weight": (hidden, hidden), f"{name}.mlp.2.bias": (hidden,)}
    layers = (("attn.qkv", 3, 1), ("attn.proj", 1, 1), ("cross_attn.q_linear", 1, 1), ("cross_attn.kv_linear", 2, 1),
              ("cross_attn.proj", 1, 1), ("mlp.fc1", 4, 1), ("mlp.fc2", 1, 4))
    for block in (f"{stack}_blocks.{index}" for stack in ("spatial", "temporal") for index in range(depth)):
        shapes |= {f"{block}.scale_shift_table": (6, hidden), f"{block}.attn.q_norm.weight": (hidden // heads,),
                   f"{block}.attn.k_norm.weight": (hidden // heads,)}
        for name, rows, cols in layers:
            shapes |= {f"{block}.{name}.weight": (rows * hidden, cols * hidden), f"{block}.{name}.bias": (rows * hidden,)}
    return shapes


def test_the_released_file_is_known_to_the_last_key(parts):
    """Meta tensors have shapes and no memory."""
    weights = {key: torch.empty(shape, device="meta") for key, shape in released_shapes().items()}
    shape = parts.loader.shape_of("file", weights)
    assert shape == parts.stdit3.STDiT3Shape(in_channels=4, out_channels=8, patch_size=(1, 2, 2), hidden_size=1152, depth=28, num_heads=16,
                                             mlp_hidden=4608, caption_channels=4096, caption_tokens=300)
    model = parts.stdit3.STDiT3(**shape.as_unet_config(), dtype=torch.bfloat16, device="meta", operations=comfy.ops.disable_weight_init)
    parts.loading.check_keys("file", model, weights)


def test_the_recorded_weights_have_the_released_names(recording):
    with safe_open(recording("stdit3")[0], "pt") as file:
        names = set(file.keys())
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in names}
    assert shapes == released_shapes(hidden=32, heads=4, caption=24, tokens=10)


@pytest.mark.parametrize("wrapping", [None, "ema", "model"])
def test_a_pt_file_loads_as_well(parts, tiny_path, tmp_path, wrapping):
    weights = load_file(tiny_path)
    torch.save({wrapping: weights} if wrapping else weights, tmp_path / "model.pt")
    model = parts.loader.load_stdit3(str(tmp_path / "model.pt"), "bf16").model.diffusion_model
    assert model.x_embedder.proj.weight.dtype == torch.bfloat16 and model.temporal_blocks[0].attn.num_heads == 4
    assert torch.equal(model.rope.freqs, weights["rope.freqs"])     # full precision, or late frames would drift


def test_the_loader_node_finds_the_file(tiny_path):
    import folder_paths
    folder_paths.add_model_folder_path("diffusion_models", str(tiny_path.parent))
    model = pack_module("nodes.toca_load_open_sora").ToCaLoadOpenSora.execute(tiny_path.name, "fp32").args[0]
    assert len(model.model.diffusion_model.temporal_blocks) == 2 and model.model.latent_format.latent_dimensions == 3


def refused(error, call, *named):
    with pytest.raises(error) as refusal:
        call()
    for words in named:
        assert words in str(refusal.value)


def test_files_of_other_models_and_broken_ones(parts, weights, tiny_path, tmp_path):
    def broken(change, name="file.safetensors"):
        state = load_file(tiny_path)
        change(state)
        save_file(state, tmp_path / name)
        return lambda: parts.loader.load_stdit3(str(tmp_path / name))
    error = parts.loading.CheckpointError
    save_file(weights.pixart(), tmp_path / "pixart.safetensors")
    other = tmp_path / "pixart.safetensors"
    refused(error, lambda: parts.loader.load_stdit3(str(other)), "pixart.safetensors", "no Open-Sora 1.2", "rope.freqs")
    refused(error, broken(lambda w: w.pop("temporal_blocks.1.attn.proj.bias")), "1 keys missing", "temporal_blocks.1.attn.proj.bias")
    refused(error, broken(lambda w: w.update({"pos_embed": torch.zeros(2)})), "1 left over", "pos_embed")
    refused(error, broken(lambda w: w.update({"spatial_blocks.0.attn.q_norm.weight": torch.zeros(15)})), "15 channels", "64")
    refused(error, broken(lambda w: w.update({"x_embedder.proj.weight": torch.zeros(64, 16, 1, 2, 2)})), "16 channels", "4")
    refused(error, broken(lambda w: w.update({"x_embedder.proj.weight": torch.zeros(64, 4, 2, 2)})), "patches of 2 axes", "rows")


def test_inputs_that_do_not_fit(parts, patcher, clip):
    execute, start = parts.latent.ToCaOpenSoraLatent.execute, {"samples": torch.zeros(1, 4, 1, 24, 24)}
    picture = torch.zeros(1, 64, 64, 3)
    refused(ValueError, lambda: execute("144p", "1:1", 17, 1, picture), "no vae", "Open-Sora's VAE")
    refused(ValueError, lambda: execute("144p", "1:1", 17, 1, picture, Quarters(), start), "both start_image and start_latent")
    refused(ValueError, lambda: execute("144p", "16:9", 17, 1, start_latent=start), "(1, 4, 1, 24, 24)", "(1, 4, frames, 18, 32)")
    refused(ValueError, lambda: execute("144p", "1:1", 17, 1, start_latent={"samples": torch.zeros(1, 4, 24, 24)}), "(1, 4, 24, 24)")
    refused(ValueError, lambda: execute("144p", "1:1", 1, 1, start_latent=start), "1 latent frames", "raise frames")
    node = parts.conditioning.ToCaOpenSoraConditioning
    refused(ValueError, lambda: node.execute(clip, "a fox", width=426), "width 426 and height 0", "both")
    wide = [[torch.zeros(1, 5, 768), {}]]
    refused(ValueError, lambda: sample(patcher, torch.zeros(1, 4, 2, 4, 4), wide, wide), "768 channels", "reads 64", "pixart")
