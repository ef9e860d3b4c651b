"""Masks and priorities on today's models: wherever in its streams a model has the picture's tokens, those meant are computed."""

import pytest
import torch

from tools.pack import pack_module

from .conftest import checked_model

MASKED = [("hunyuan_video", False), ("hunyuan_video_custom", True), ("chroma", False), ("qwen_edit", True), ("z_image", False),
          ("omnigen2", True), ("krea2_edit", True), ("sd3", False), ("aura", False), ("cosmos2", False)]
# With reference pictures before or behind it, with text before or behind it, in one stream or in two.
PREFERRED = [*MASKED, ("ernie", False), ("omnigen2", False), ("lumina2", False), ("krea2", False), ("wan_t2v", False), ("ltxv", False),
             ("hidream", False)]
UNKNOWN = [("z_image_omni", True), ("ltxv_guided", True)]        # the place of the picture's tokens


def recorded(monkeypatch, name, reference, node, **settings):
    """-> (what was recomputed of each token in 0..1, that of a mask's tokens, the report): one quarter of the picture is masked."""
    checked, kept = checked_model(name), []
    monkeypatch.setattr(pack_module("nodes.host.run_log").RunLog, "add", lambda self, run: kept.append(run))
    model, _ = checked.cached(cycle=3, **settings)
    mask = torch.zeros(1, 8, 8)
    mask[:, :4, :4] = 1
    result = checked.tiny.sample(node(model, mask), steps=6, **({"reference": True} if reference else {}))
    assert result.isfinite().all()
    [run] = kept
    maps = run.maps
    rows, columns = (side // 2 for side in maps.recomputed.shape[2:])
    inside = torch.zeros(maps.recomputed.shape, dtype=torch.bool)
    inside[:, :, :rows, :columns] = True
    return maps.recomputed, inside, run.report


def entering(checked, reference, change):
    """The picture's stream (B, N, C) before the first block in the first call of a run, whose calls get change(x)."""
    model, _ = checked.cached(level="module", cycle=3, score="random")
    stack, seen = pack_module("nodes.systems").bound_of(checked.tiny.diffusion_model)[0].stacks[0], []
    model.set_model_unet_function_wrapper(lambda apply, given: apply(change(given["input"]), given["timestep"], **given["c"]))
    hook = stack.blocks[0].register_forward_pre_hook(lambda block, *given: seen.append(stack.picture_in(*given).clone()), with_kwargs=True)
    checked.tiny.sample(model, steps=3, **({"reference": True} if reference else {}))
    hook.remove()
    return stack.stack, seen[0]


def first_token(x):
    """x with other values at the first place of its first frame."""
    x = x.clone()
    x[(..., 0, 0, 0) if x.ndim == 5 else (..., 0, 0)] += 1
    return x


@pytest.mark.parametrize("name, reference", [case for case in PREFERRED if case[0] != "hidream"])       # said of its later blocks alone
def test_the_grid_begins_where_it_is_said_to(monkeypatch, name, reference):
    """A change of the latent's first place changes no token before the grid, wherever blocks in front of the stack carry it on to."""
    checked, said = checked_model(name), {}
    costs = pack_module("toca_core.costs.account").StackCosts
    grid_start = costs.grid_start

    def listening(self, stream, length, sizes):
        return said.setdefault((self.stack.name, stream, length), grid_start(self, stream, length, sizes))
    monkeypatch.setattr(costs, "grid_start", listening)
    stack, before = entering(checked, reference, lambda x: x)
    _, after = entering(checked, reference, first_token)
    begins = (before != after).any(-1).any(0).nonzero().min().item()
    assert {start for (of, stream, length), start in said.items() if of == stack.name and stream != "txt"} == {begins}


@pytest.mark.parametrize("name, reference", MASKED)
def test_masked_tokens_are_computed_at_every_step(monkeypatch, name, reference):
    execute = pack_module("nodes.toca_token_mask").ToCaTokenMask.execute
    recomputed, inside, report = recorded(monkeypatch, name, reference, lambda model, mask: execute(model, mask, 0).args[0], level="stack")
    assert report.calls("partial") and (recomputed[inside] == 1).all() and (recomputed[~inside] < 1).any()
    assert recomputed.mean() < 0.7


@pytest.mark.parametrize("name, reference", [*PREFERRED, *UNKNOWN])
def test_preferred_tokens_are_chosen(monkeypatch, name, reference):
    execute = pack_module("nodes.toca_region_priority").ToCaRegionPriority.execute
    recomputed, inside, report = recorded(monkeypatch, name, reference, lambda model, mask: execute(model, mask, 100.0).args[0],
                                          level="module", score="random", fresh_ratio=0.25, mlp_share=0.5, spread_bonus=0.0)
    assert report.calls("partial") and report.calls("full")
    if (name, reference) in UNKNOWN:
        assert recomputed.std() < 1e-6                             # each token gets the mean, and none is preferred
        assert "priority counts for nothing" in report.note
    else:
        assert recomputed[inside].mean() > recomputed[~inside].mean() + 0.02 and "priority" not in report.note
