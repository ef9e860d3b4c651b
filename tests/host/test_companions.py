"""Together with what users chain to it: torch.compile, LoRA, weight patches, several conditionings."""

import pytest
import torch

SETTINGS = {"fresh_ratio": 0.3, "cycle": 3}
MODES = {"module": SETTINGS, "stack": {"level": "stack", "cycle": 3}, "refresh": {"level": "stack", "cycle": 3, "refresh_ratio": 0.2}}


def compiled(model):
    """The host's TorchCompileModel node. The eager backend traces and guards as the others do, and compiles in no time."""
    from comfy_api.torch_helpers import set_torch_compile_wrapper
    model = model.clone()
    set_torch_compile_wrapper(model, backend="eager")
    return model


# A trace of the modules takes torch 20 seconds. The order is the wrappers' affair, not the model's; only two systems can refresh tokens.
COMPILED = [(system, True, "module") for system in ("dit", "pixart", "open_sora", "flux")]
COMPILED += [("dit", False, "module"), ("pixart", False, "stack"), ("open_sora", False, "stack"), ("flux", False, "module"),
             ("dit", True, "stack"), ("flux", True, "stack"), ("dit", True, "refresh"), ("flux", True, "refresh")]


@pytest.mark.parametrize("subject, compile_first, mode", sorted(COMPILED), indirect=["subject"])
def test_torch_compile_in_either_order(subject, cached, compile_first, mode):
    torch._dynamo.reset()
    plain_model, plain_reports = cached(subject, **MODES[mode])
    expected = subject.sample(plain_model)
    compiled_model = compiled(subject.model)
    first = type(subject)(subject.name, compiled_model, subject.positive, subject.negative, subject.frames) if compile_first else subject
    model, reports = cached(first, **MODES[mode])
    result = subject.sample(model if compile_first else compiled(model))
    torch.testing.assert_close(result, expected, rtol=1e-3, atol=1e-3)
    assert reports[0].steps == plain_reports[0].steps


def test_a_lora_reaches_the_fresh_tokens(tiny_dit, cached):
    """Weight patches are the host's; the fresh tokens go through the patched modules like all others."""
    patched = tiny_dit.model.clone()
    key = "diffusion_model.blocks.0.mlp.fc2.weight"
    patched.add_patches({key: (torch.randn(48, 192, generator=torch.Generator().manual_seed(0)) * 0.2,)}, 1.0)
    subject = type(tiny_dit)(tiny_dit.name, patched, tiny_dit.positive, tiny_dit.negative)
    model, _ = cached(subject, **SETTINGS)
    everything, _ = cached(subject, cycle=1)
    plain, fast, unpatched = subject.sample(everything), subject.sample(model), tiny_dit.sample()
    assert torch.equal(plain, subject.sample())
    assert not torch.equal(plain, unpatched)
    assert (fast - plain).norm() < (fast - unpatched).norm()


def test_regional_conditionings_that_share_a_uuid(tiny_dit, cached):
    """Two areas of one prompt: each region keeps its own cache, and every step after the first can be partial."""
    positive = [[tensor, {**options, "area": area}] for (tensor, options), area in
                zip(tiny_dit.positive * 2, ((16, 8, 0, 0), (16, 8, 0, 8)), strict=True)]
    subject = type(tiny_dit)(tiny_dit.name, tiny_dit.model, positive, tiny_dit.negative)
    model, reports = cached(subject, **SETTINGS)
    plain, fast = subject.sample(), subject.sample(model)
    assert torch.isfinite(fast).all() and reports[0].calls("partial") == 6
    everything, _ = cached(subject, fresh_ratio=1.0)
    assert torch.equal(plain, subject.sample(everything))


def test_two_calls_for_the_same_conditioning_in_one_evaluation(tiny_dit, cached):
    """As perturbed-attention guidance and its kin do: each call has a cache of its own, told by its place in the evaluation."""
    import comfy.samplers

    def twice(args):
        def call(x):
            return comfy.samplers.calc_cond_batch(args["model"], [args["cond"]], x, args["sigma"], args["model_options"])[0]
        wanted, _ = call(args["input"]), call(-args["input"])
        return wanted

    guided = tiny_dit.model.clone()
    guided.set_model_sampler_post_cfg_function(twice)
    subject = type(tiny_dit)(tiny_dit.name, guided, tiny_dit.positive, tiny_dit.negative)
    model, reports = cached(subject, fresh_ratio=0.5, cycle=2)
    plain, fast = subject.sample(steps=30), subject.sample(model, steps=30)
    assert reports[0].model_calls == {"full": 45, "partial": 45, "plain": 0}
    assert (fast - plain).norm() / plain.norm() < 0.07


def test_a_conditioning_that_leaves_in_mid_run(tiny_dit, cached):
    """Prompt scheduling: where the set of conditionings changes, the step is full."""
    early = [[tensor, {**options, "start_percent": 0.0, "end_percent": 0.47}] for tensor, options in tiny_dit.positive]
    late = [[tensor, {**options, "start_percent": 0.47, "end_percent": 1.0}] for tensor, options in tiny_dit.positive]
    subject = type(tiny_dit)(tiny_dit.name, tiny_dit.model, early + late, tiny_dit.negative)
    model, reports = cached(subject, fresh_ratio=0.3, cycle=9)
    assert torch.isfinite(subject.sample(model)).all()
    kinds = [step.kind for step in reports[0].steps]
    assert kinds[0] == "full" and kinds.count("full") == 2 and kinds.count("partial") == 7


def test_bfloat16_weights(pack, checkpoints, cached, tiny_dit):
    model = pack.dit_loader.load_dit(checkpoints["dit"], "bf16")
    subject = type(tiny_dit)("dit", model, tiny_dit.positive, tiny_dit.negative)
    fast, _ = cached(subject, **SETTINGS)
    assert subject.diffusion_model.blocks[0].mlp.fc1.weight.dtype == torch.bfloat16
    assert torch.isfinite(subject.sample(fast)).all()
    everything, _ = cached(subject, cycle=1)
    assert torch.equal(subject.sample(), subject.sample(everything))
