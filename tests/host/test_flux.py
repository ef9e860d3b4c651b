"""What FLUX brings along: reference pictures, ControlNets, two streams, single blocks."""

import pytest
import torch

import comfy.controlnet
import comfy.ldm.flux.controlnet
import comfy.ops

from tools import tiny
from tools.pack import pack_module

from .conftest import Subject, make_subject

SETTINGS = {"fresh_ratio": 0.3, "cycle": 3}
CACHED = {"double.img_attn", "double.txt_attn", "double.img_mlp", "double.txt_mlp", "single.attn", "single.mlp"}


@pytest.fixture(scope="module")
def flux(pack, checkpoints):
    return make_subject("flux", pack, checkpoints)


def with_options(subject, **options):
    """The subject with more in both conditionings, as nodes put it there."""
    more = [[[tensor, {**given, **options}] for tensor, given in side] for side in (subject.positive, subject.negative)]
    return type(subject)(subject.name, subject.model, *more)


def references():
    generator = torch.Generator().manual_seed(4)
    return [torch.randn(1, 16, 12, 8, generator=generator), torch.randn(1, 16, 9, 16, generator=generator)]


def controlnet(strength=1.0, seed=2):
    """A small ControlNet of the host's own FLUX class, set up as the apply node does."""
    sizes = dict(in_channels=16, out_channels=16, vec_in_dim=16, context_in_dim=32, hidden_size=256, mlp_ratio=4.0, num_heads=2,
                 depth=2, depth_single_blocks=1, axes_dim=[16, 56, 56], theta=10000, patch_size=2, qkv_bias=True, guidance_embed=True,
                 txt_ids_dims=[])
    model = comfy.ldm.flux.controlnet.ControlNetFlux(dtype=torch.float32, operations=comfy.ops.disable_weight_init, **sizes)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.normal_(std=0.05, generator=generator)
            weight.add_(1.0 if "norm." in name else 0.0)
    control = comfy.controlnet.ControlNet(model, load_device=torch.device("cpu"), extra_conds=["y", "guidance"])
    return control.set_cond_hint(torch.rand(1, 3, 128, 128, generator=generator), strength)


def assert_handled(subject, without, cached, cfg=1.0):
    """What is at stake matters; partial steps know of it, at either level; settings that cache nothing are exact."""
    for level in ("module", "stack"):
        model, reports = cached(subject, **SETTINGS, level=level)
        full, partial = subject.twice(model, cfg, batch=1)
        assert [step.kind for step in reports[0].steps] == ["full", "partial"]
        torch.testing.assert_close(partial, full, rtol=1e-4, atol=1e-4)
        assert torch.isfinite(subject.sample(model, cfg=cfg)).all() and reports[-1].calls("partial") == 6
    assert (full - without.twice(without.model, cfg, batch=1)[0]).norm() > 1e-3 * full.norm()
    everything, _ = cached(subject, cycle=1)
    assert torch.equal(subject.sample(everything, cfg=cfg), subject.sample(cfg=cfg))


@pytest.mark.parametrize("method", ["offset", "index", "uxo"])
def test_reference_pictures(flux, cached, method):
    """Kontext: their tokens follow the picture's in the same stream."""
    subject = with_options(flux, reference_latents=references(), reference_latents_method=method)
    assert_handled(subject, flux, cached)


@pytest.fixture(scope="module")
def flux2(tmp_path_factory):
    """The same class with modulations shared by all blocks, gated MLPs and patches of one latent."""
    import comfy.sd
    path = tmp_path_factory.mktemp("flux2") / "flux2.safetensors"
    tiny.tiny_flux2(path, context=32)
    generator = torch.Generator().manual_seed(1)
    texts = [[[torch.randn(1, 12, 32, generator=generator), {"guidance": 3.5}]] for _ in range(2)]
    return Subject("flux2", comfy.sd.load_diffusion_model(str(path), {"dtype": torch.float32}), *texts)


def test_flux2(flux2, cached):
    assert_handled(flux2, with_options(flux2, guidance=1.0), cached)
    assert_counted(flux2, cached)


def test_reference_pictures_modulated_with_timestep_zero(flux2, cached):
    """Their tokens have shifts, scales and gates of their own on partial steps too."""
    given = [torch.randn(1, 128, 6, 4, generator=torch.Generator().manual_seed(4))]
    subject = with_options(flux2, reference_latents=given, reference_latents_method="index_timestep_zero")
    assert_handled(subject, with_options(flux2, reference_latents=given, reference_latents_method="index"), cached)


def assert_counted(subject, cached):
    """Our FLOPs are torch's."""
    from torch.utils.flop_counter import FlopCounterMode
    model, reports = cached(subject, **SETTINGS)
    for chosen, counted in ((None, lambda report: report.plain_flops), (model, lambda report: report.flops)):
        with FlopCounterMode(display=False) as counter:
            subject.sample(chosen, cfg=1.0)
        if chosen is None:
            subject.sample(model, cfg=1.0)
        assert counted(reports[-1]) == pytest.approx(counter.get_total_flops(), rel=0.02)


def test_reference_tokens_are_counted(flux, cached):
    assert_counted(with_options(flux, reference_latents=references()), cached)


def test_a_controlnets_residuals_are_added_once_per_step(flux, cached):
    control = with_options(flux, control=controlnet(), control_apply_to_uncond=True)
    assert_handled(control, flux, cached)


def test_the_report_names_every_module_block_by_block(flux, cached):
    model, reports = cached(flux, mlp_share=0.5, parallel_mlp_share=2.0, layer_slope=0.5, **SETTINGS)
    flux.sample(model)
    step = next(step for step in reports[0].steps if step.kind == "partial")
    assert set(step.fresh_per_block) == CACHED
    assert {name: len(shares) for name, shares in step.fresh_per_block.items() if name.endswith("mlp")} == {
        "double.img_mlp": 2, "double.txt_mlp": 2, "single.mlp": 3}
    # 0.3 x 0.5 x (1.5, 0.5) of 64 picture tokens: 14 and 4; of 12 text tokens: 2 and 0; 0.3 x 2 x (1.5, 1, 0.5) of all 76: 68, 45, 22
    assert step.fresh_per_block["double.img_mlp"] == pytest.approx([14 / 64, 4 / 64], abs=1e-6)
    assert step.fresh_per_block["double.txt_mlp"] == pytest.approx([2 / 12, 0], abs=1e-6)
    assert step.fresh_per_block["single.mlp"] == pytest.approx([68 / 76, 45 / 76, 22 / 76], abs=1e-6)
    assert step.fresh_per_block["single.attn"] == [0, 0, 0]


def test_streams_take_ratios_of_their_own(flux, cached, pack):
    ratios = pack.block_ratios.parse_block_ratios("mlp: 0.5\ndouble.txt_mlp: 0, 1\nparallel_mlp: 0.25")
    model, reports = cached(flux, block_ratios=ratios, **SETTINGS)
    flux.sample(model)
    step = next(step for step in reports[0].steps if step.kind == "partial")
    assert step.fresh_per_block["double.img_mlp"] == [0.5, 0.5] and step.fresh_per_block["double.txt_mlp"] == [0, 1]
    assert step.fresh_per_block["single.mlp"] == [0.25] * 3


def test_mlps_may_be_full_more_often_than_attention(flux, cached):
    """Attention every fourth step, the MLPs every second: on the steps between, every token's MLP is computed on kept attention."""
    model, reports = cached(flux, cycle=4, mlp_cycle=2, fresh_ratio=0.3)
    flux.sample(model)
    shares = [step.fresh_share for step in reports[0].steps[1:4]]
    assert [share["double.img_mlp"] for share in shares[1:2]] == [1.0] and all(share["double.img_attn"] == 0 for share in shares)
    assert shares[0]["single.mlp"] < 1 == shares[1]["single.mlp"]


def test_another_packs_block_patch_is_called_on_partial_steps_too(flux, cached):
    seen = []

    def patch(arguments, extra):
        seen.append(1)
        return extra["original_block"](arguments)

    patched = flux.model.clone()
    patched.set_model_patch_replace(patch, "dit", "double_block", 1)
    subject = type(flux)(flux.name, patched, flux.positive, flux.negative)
    model, _ = cached(subject, **SETTINGS)
    assert torch.equal(subject.sample(model), flux.sample(cached(flux, **SETTINGS)[0]))
    assert len(seen) == 9


def test_another_attention_override_is_still_called(flux, cached):
    calls = []

    def override(function, *args, **kwargs):
        calls.append(1)
        return function(*args, **kwargs)

    patched = flux.model.clone()
    patched.model_options.setdefault("transformer_options", {})["optimized_attention_override"] = override
    subject = type(flux)(flux.name, patched, flux.positive, flux.negative)
    model, _ = cached(subject, **SETTINGS)
    assert torch.equal(subject.sample(model), flux.sample(cached(flux, **SETTINGS)[0]))
    assert len(calls) == 3 * 5                                      # full steps, blocks


def test_half_precision_runs(flux, cached, pack, checkpoints):
    import comfy.sd
    model = comfy.sd.load_diffusion_model(checkpoints["flux"], {"dtype": torch.bfloat16})
    subject = type(flux)(flux.name, model, flux.positive, flux.negative)
    fast, reports = cached(subject, **SETTINGS)
    assert torch.isfinite(subject.sample(fast)).all() and reports[0].calls("partial") == 6


def test_an_attention_mask(flux, cached):
    """As Style Model Apply leaves one, over 12 tokens of text and 8 x 8 of the picture; here the picture sees its lower half alone."""
    mask = torch.zeros(1, 12 + 64, 12 + 64)
    mask[:, 12:, :12 + 32] = -1e4
    masked = with_options(flux, attention_mask=mask, attention_mask_img_shape=(8, 8))
    plain_change, change = (masked.sample(model, cfg=1.0) - flux.sample(model, cfg=1.0)
                            for model in (None, cached(flux, **SETTINGS)[0]))
    assert 0 < (change - plain_change).norm() < 0.5 * plain_change.norm()
    assert torch.equal(masked.sample(cached(flux, cycle=1)[0], cfg=1.0), masked.sample(cfg=1.0))


# ---- half of a projection ----


def layer(kind, dtype=torch.float32):
    made = kind(8, 24, dtype=dtype, device="cpu")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(generator=generator)
    return made


def patched(made):
    """As a LoRA on a layer whose weights are moved at every call."""
    made.weight_function, made.bias_function = [lambda weight: weight + 0.5], [lambda bias: bias * 2]
    return made


@pytest.mark.parametrize("made", [
    lambda: layer(comfy.ops.disable_weight_init.Linear), lambda: layer(comfy.ops.manual_cast.Linear, torch.bfloat16),
    lambda: patched(layer(comfy.ops.disable_weight_init.Linear)), lambda: patched(layer(comfy.ops.manual_cast.Linear, torch.bfloat16))],
    ids=["plain", "cast", "patched", "cast and patched"])
def test_the_later_outputs_of_a_layer_are_those_of_the_layer(made):
    made, x = made(), torch.randn(2, 5, 8)
    torch.testing.assert_close(pack_module("nodes.systems.linear").later_outputs(made, 16)(x), made(x)[..., 16:])


def bypassed(made):
    """As a LoRA that is not merged."""
    forward = made.forward
    made.forward = lambda x: forward(x) + 1
    return made


def hooked(made):
    made.register_forward_hook(lambda module, args, output: output + 1)
    return made


@pytest.mark.parametrize("made", [
    lambda: layer(torch.nn.Linear), lambda: layer(comfy.ops.fp8_ops.Linear), lambda: bypassed(layer(comfy.ops.manual_cast.Linear)),
    lambda: hooked(layer(comfy.ops.disable_weight_init.Linear))], ids=["another class", "fp8", "bypassed", "hooked"])
def test_a_layer_that_does_something_of_its_own_is_run_as_it_is(made):
    assert pack_module("nodes.systems.linear").later_outputs(made(), 16) is None


def test_partial_steps_compute_no_queries_keys_and_values(flux, cached):
    """Whether few of the tokens are fresh, or all of them beside kept attention, whose half of the projection is not counted and not
    computed; with a layer that has to be run as it is, the result is the same."""
    from torch.utils.flop_counter import FlopCounterMode
    for settings in ({"fresh_ratio": 0.5, "cycle": 3}, {"fresh_ratio": 0.3, "cycle": 4, "mlp_cycle": 2}):
        model, reports = cached(flux, **settings)
        with FlopCounterMode(display=False) as counter:
            result = flux.sample(model, cfg=1.0)
        assert reports[0].flops == pytest.approx(counter.get_total_flops(), rel=0.002)
        layers = [block.linear1 for block in flux.diffusion_model.single_blocks]
        hooks = [made.register_forward_hook(lambda *_: None) for made in layers]
        try:
            with FlopCounterMode(display=False) as counter:
                whole = flux.sample(model, cfg=1.0)
        finally:
            for hook in hooks:
                hook.remove()
        assert reports[1].flops == pytest.approx(counter.get_total_flops(), rel=0.002) and reports[1].flops > 1.01 * reports[0].flops
        torch.testing.assert_close(result, whole, rtol=1e-4, atol=1e-4)
