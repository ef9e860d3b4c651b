"""The host's EasyCache on the model classes that the pack brings: it comes through their DIFFUSION_MODEL wrappers."""

import pytest
import torch

STEPS = 9
pytestmark = pytest.mark.parametrize("subject", ["dit", "open_sora"], indirect=True)


def easy_cache(model, threshold):
    from comfy_extras.nodes_easycache import EasyCacheNode
    return EasyCacheNode.execute(model, threshold, 0.15, 0.95, False).args[0]


def model_runs(subject, model):
    """(how often the first block really attends in a run, the run's latent)."""
    counts = []
    blocks = getattr(subject.diffusion_model, "blocks", None) or subject.diffusion_model.spatial_blocks
    hook = blocks[0].attn.qkv.register_forward_pre_hook(lambda *inputs: counts.append(1))
    try:
        latent = subject.sample(model, steps=STEPS)
    finally:
        hook.remove()
    return len(counts), latent


def test_easy_cache_skips_the_model(subject):
    every, _ = model_runs(subject, subject.model)
    some, latent = model_runs(subject, easy_cache(subject.model, 3.0))
    assert every % STEPS == 0 and 0 < some < every
    assert torch.isfinite(latent).all()


def test_easy_cache_without_tolerance_changes_nothing(subject):
    assert torch.equal(subject.sample(easy_cache(subject.model, 0.0)), subject.sample())


def test_wrappers_get_the_model_and_the_options_last(subject):
    """As those of the host's own models do."""
    from comfy.patcher_extension import WrappersMP
    seen = []

    def wrapper(executor, *args, **kwargs):
        seen.append((executor.class_obj, args))
        return executor(*args, **kwargs)

    model = subject.model.clone()
    model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "test", wrapper)
    assert torch.equal(subject.sample(model, steps=STEPS), subject.sample(steps=STEPS))
    assert len(seen) >= STEPS
    for class_obj, args in seen:
        assert class_obj is subject.diffusion_model and "sigmas" in args[-1] and torch.is_tensor(args[0])


def test_a_wrapper_may_write_into_its_input(subject):
    """EasyCache does, on every step it skips; in float32 that would be the latent from which the host works out the prediction."""
    from comfy.patcher_extension import WrappersMP

    def wrapper(executor, x, *args, **kwargs):
        output = executor(x, *args, **kwargs)
        x.zero_()
        return output

    model = subject.model.clone()
    model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "test", wrapper)
    assert torch.equal(subject.sample(model, steps=STEPS), subject.sample(steps=STEPS))
