"""Every model of the host, and ones that it has never seen: at which level they are cached, and that nothing is wrong there."""

import re

import pytest
import torch
from torch import nn

from tools import models, zoo
from tools.pack import pack_module

QUICK = ("wan_t2v", "wan_vace", "wan22_5b", "qwen_edit", "z_image", "hunyuan_video_replace", "ltxv_guided", "ltx2", "minimax", "sd3",
         "chroma", "cosmos1", "cosmos2", "hidream", "hidream_o1", "omnigen2", "ernie", "stable_audio", "ace_step15", "hunyuan3d21", "pid",
         "sdxl", "svd", "wan_causal")


def test_every_builder_is_of_a_class_that_the_table_names():
    """Of each one that is sampled; what is not in this host is left out by name."""
    systems = pack_module("nodes.systems")
    assert {builder.of for builder in zoo.builders().values()} - systems.CLASSES.keys() == set()


@pytest.mark.parametrize("name", QUICK)
def test_a_model_of_the_host(name):
    """All of them: python run.py models."""
    row = models.check(name)
    if row.absent:
        pytest.skip(row.absent)
    assert row.wrong == [] and [level.wrong for level in row.levels] == [[] for _ in row.levels]
    assert row.whole == {"sdxl": "output", "svd": "output", "ltx2": "output", "minimax": "output", "hidream_o1": "output",
                        "wan_causal": "plain"}.get(name, "stack")


@pytest.mark.parametrize("shifts", [(12.0, 3.0), (3.0, 12.0), (1.0, 1.0)])
def test_the_sounds_level_and_its_slope_follow_the_pictures(shifts):
    """MiniMax H3: both run from 1 to 0, and the slope is what one level changes by where the other changes."""
    minimax = pack_module("nodes.systems.minimax")
    options = dict(zip(minimax.SHIFTS, shifts, strict=True))

    def sound(sigma):
        picture, sound = minimax.parts(None, sigma, [(1, 4, 8), (1, 2, 8)], options)
        assert (picture.count, sound.count, picture.sigma, picture.slope) == (32, 16, sigma, 1.0)
        return sound
    assert [sound(end).sigma for end in (1.0, 0.0)] == pytest.approx([1.0, 0.0])
    for sigma in (0.1, 0.5, 0.9):
        assert sound(sigma).slope == pytest.approx((sound(sigma + 1e-5).sigma - sound(sigma - 1e-5).sigma) / 2e-5, rel=1e-4)


class Room(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, x, time):
        return x + 0.3 * torch.tanh(self.linear(x) * (1 + time[:, None, None]))


class Mansion(nn.Module):
    """In no table: no attention, blocks in a dict of an unusual name."""

    def __init__(self, *args, dtype=None, device=None, operations=None, **kwargs):
        super().__init__()
        self.dtype, self.calls = dtype, 0
        self.inward, self.outward = nn.Linear(4, 8), nn.Linear(8, 4)
        self.chambers = nn.ModuleDict({f"chamber_{index}": Room() for index in range(4)})

    def forward(self, x, timesteps, context=None, control=None, transformer_options={}, **kwargs):
        self.calls += 1
        tokens = self.inward(x.flatten(2).transpose(1, 2))
        for room in self.chambers.values():
            tokens = room(tokens, timesteps / 1000)
        return self.outward(tokens).transpose(1, 2).reshape(x.shape)


@pytest.fixture(scope="module")
def mansion():
    import comfy.model_base
    import comfy.model_patcher
    import comfy.supported_models
    config = comfy.supported_models.SD3({"image_model": "sd3"})
    config.set_inference_dtype(torch.float32, None)
    torch.manual_seed(0)
    model = comfy.model_base.BaseModel(config, comfy.model_base.ModelType.FLOW, unet_model=Mansion)
    device = torch.device("cpu")
    patcher = comfy.model_patcher.CoreModelPatcher(model, device, device)
    from tools.zoo.building import Tiny, texts
    return Tiny(patcher, texts(8), (4, 8, 8))


@pytest.mark.parametrize("level", ["auto", "stack"])
def test_a_class_that_is_in_no_table(mansion, pack, level):
    """Sped up at both levels, the plain model at tolerance 0, and nothing is left on it."""
    mansion.model.model.latent_format.latent_channels = 4
    plain, marks = mansion.sample(steps=12), models.snapshot(mansion.model)

    def run(tolerance):
        reports = []
        if level == "auto":
            settings = pack.settings.Settings("auto", pack.config.ToCaConfig(), tolerance=tolerance)
        else:
            settings = pack.settings.Settings("custom", pack.config.ToCaConfig(level=level, tolerance=tolerance))
        return mansion.sample(pack.seam.install(mansion.model, settings, reports.append), steps=12), reports[0]
    assert torch.equal(run(0.0)[0], plain)
    before = mansion.diffusion_model.calls
    result, report = run(5.0)
    assert report.calls("partial") >= 4 and report.flops_speedup > 1.5
    assert report.settings["level"] == ("output" if level == "auto" else "stack")
    assert ("its blocks were found in its first call: chambers" in report.note) == (level == "stack")
    assert mansion.diffusion_model.calls - before <= 2 * len(report.steps)           # at level stack the final layer runs on every step
    assert (result - plain).norm() / plain.norm() < 0.05
    assert models.snapshot(mansion.model) == marks and torch.equal(mansion.sample(steps=12), plain)


@pytest.mark.parametrize("settings", [{"fresh_ratio": 1.0}, {"cycle": 1}])
def test_settings_that_cache_nothing_do_so_at_the_level_that_stands_in_too(settings, pack):
    """A UNet has no modules to cache, so it is cached at level output, or here not at all."""
    unet, reports = zoo.builders()["sd15"].make(), []
    chosen = pack.settings.Settings("custom", pack.config.ToCaConfig(level="module", **settings))
    result = unet.sample(pack.seam.install(unet.model, chosen, reports.append), steps=12)
    assert torch.equal(result, unet.sample(steps=12)) and reports[0].calls("partial") == 0
    assert "level is module" in reports[0].note and "Every step is full" in reports[0].note


WRONG = {
    "path": (lambda tokens, system: tokens("halls"), "there is no halls"),
    "no list": (lambda tokens, system: tokens("inward"), "inward is Linear, not a list of blocks"),
    "stream": (lambda tokens, system: tokens("chambers", "hidden"), "takes no argument hidden; it takes x, time"),
    "position": (lambda tokens, system: tokens("chambers", (0, 5), 0), "takes no argument 5"),
    "picture": (lambda tokens, system: tokens("chambers", ("x", "time"), "img"), "the picture is img"),
    "side": (lambda tokens, system: tokens("chambers", side="middle"), "the side is 'middle'"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_entry_fails_at_bind_by_name(mansion, kind):
    make, named = WRONG[kind]
    stack = make(pack_module("toca_core.families.tokens").TokenStack, None)
    contract, system = pack_module("toca_core.families.contract"), pack_module("toca_core.system")
    with pytest.raises(contract.ContractError, match=f"Mansion, .*{named}"):
        system.System("mansion", "Mansion", ("Mansion",), (stack,)).layout.bind(mansion.diffusion_model)


def test_blocks_without_two_streams_fail_at_bind_by_name(mansion):
    contract, system, joint = (pack_module(f"toca_core.{name}") for name in ("families.contract", "system", "families.joint"))
    stack = joint.JointStack("pairs", "chambers", watch=None, attending=None)
    with pytest.raises(contract.ContractError, match="Mansion, .*takes no argument img; it takes x, time"):
        system.System("mansion", "Mansion", ("Mansion",), (stack,)).layout.bind(mansion.diffusion_model)


@pytest.mark.parametrize("changes, named", [
    ({"modules": {"self_attn": "attention", "mlp": "mlp"}}, "no block's attention"),
    ({"projections": {"self_attn": ("attn.query",)}}, "there is no attn.attn.query"),
    ({"projections": {"self_attn": ("qkv", "proj")}}, "qkv gives 144, proj gives 48"),
    ({"projections": {"self_attn": ("proj",)} }, None),
    ({"norms": {"self_attn": "norm9"}}, "no block's norm9"),
    ({"path": "rooms"}, "there is no rooms")], ids=["module", "projection", "separate taken for fused", "size", "norm", "path"])
def test_a_wrong_entry_of_modules_fails_at_bind_by_name(tiny_dit, changes, named):
    sequential, contract = pack_module("toca_core.families.sequential"), pack_module("toca_core.families.contract")
    entry = {"modules": {"self_attn": "attn", "mlp": "mlp"}, "projections": {"self_attn": ("qkv",)}, **changes}
    if named is None:                                               # 48 is a multiple of 3: what cannot be told apart is not refused
        sequential.SequentialStack(**entry).bind(tiny_dit.diffusion_model)
        return
    with pytest.raises(contract.ContractError, match=f"DiT, .*{named}"):
        sequential.SequentialStack(**entry).bind(tiny_dit.diffusion_model)


def test_an_entry_that_no_longer_fits_leaves_level_output(tiny_dit, pack, monkeypatch):
    """As after an update of the host: the run is cached all the same, and the report says what does not fit."""
    system = pack.systems.system_of(tiny_dit.diffusion_model)
    monkeypatch.setitem(system.__dict__, "layout", pack_module("toca_core.families.layout").Layout(
        "dit", (pack_module("toca_core.families.tokens").TokenStack("rooms"),)))
    reports = []
    model = pack.seam.install(tiny_dit.model, pack.settings.Settings("auto", pack.config.ToCaConfig(), tolerance=20.0), reports.append)
    assert tiny_dit.sample(model, steps=12).isfinite().all()
    assert reports[0].settings["level"] == "output" and reports[0].calls("partial") > 3
    assert "does not fit this version of the model" in reports[0].note and "there is no rooms" in reports[0].note


@pytest.mark.parametrize("name, streams, picture, named", [
    ("qwen_image", ("hidden_states", "encoder_hidden_states"), "hidden_states", "a block takes hidden_states of .* and returns"),
    ("wan_t2v", ("x", "context"), "x", "a block returns no x, context"),
    ("qwen_image", "hidden_states", None, "a block returns no hidden_states")], ids=["order", "one for two", "two for one"])
def test_an_entry_whose_streams_are_wrong_leaves_level_output(name, streams, picture, named, pack, monkeypatch):
    """What a block returns shows in the first full step; nothing is skipped on the strength of it, and the run goes on."""
    tiny, layout = zoo.builders()[name].make(), pack_module("toca_core.families.layout")
    system = pack.systems.system_of(tiny.diffusion_model)
    path = system.stacks[0].path
    monkeypatch.setitem(system.__dict__, "layout", layout.Layout(
        name, (pack_module("toca_core.families.tokens").TokenStack(path, streams, picture),)))
    reports = []
    chosen = pack.settings.Settings("custom", pack.config.ToCaConfig(level="stack", tolerance=50.0))
    result = tiny.sample(pack.seam.install(tiny.model, chosen, reports.append), steps=12)
    assert result.isfinite().all() and reports[0].settings["level"] == "output" and reports[0].calls("partial") > 2
    assert re.search(f"does not fit what its blocks do \\({named}", reports[0].note)


@pytest.mark.parametrize("name", [
    "wan_t2v", "wan_vace", "qwen_edit", "z_image", "hunyuan_video", "sd3", "chroma", "cosmos1", "hidream", "sdxl"])
def test_blocks_that_are_found_are_those_of_the_entry(name, pack):
    """By watching one call; where anything is in doubt, nothing is found."""
    learning, tiny = pack_module("toca_core.families.learning"), zoo.builders()[name].make()
    from comfy.patcher_extension import WrappersMP
    found = []

    def watch(executor, x, t, context=None, *args, **kwargs):
        watched = learning.Watch(tiny.diffusion_model)
        with pack_module("toca_core.swap").swapped(watched.replacements()):
            output = executor(x, t, context, *args, **kwargs)
        found.append(watched.layout(pack_module("nodes.systems.sizes").latent_sizes(tiny.diffusion_model, x, None, {})))
        return output
    model = tiny.model.clone()
    model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "watch", watch)
    tiny.sample(model, steps=1, cfg=1.0)
    entry = pack.systems.system_of(tiny.diffusion_model)
    if found[0] is not None:
        assert [streams(stack) for stack in found[0].stacks] == [streams(stack) for stack in entry.stacks]
    assert (found[0] is not None) == (name in FOUND)


def streams(stack):
    """What a stack claims of its blocks; FLUX's families need not say what they all have in common."""
    known = {"JointStack": (("img", "txt"), "img", "all"), "ParallelStack": (("x",), "x", "last")}
    return stack.path, *(known.get(type(stack).__name__) or (stack.returned, stack.main, stack.side))


FOUND = ("wan_t2v", "wan_vace", "qwen_edit", "z_image", "hunyuan_video", "sd3", "chroma", "cosmos1")


def test_calibrate_works_on_a_unet(pack):
    """By the output alone, for a speed and for a size."""
    tiny, node = zoo.builders()["sd15"].make(), pack_module("nodes.toca_calibrate").ToCaCalibrate
    positive, negative = tiny.conditioning(7, 7, False)
    latent = {"samples": torch.zeros(1, *tiny.shape)}
    for target in ("1.3x", "1 GB"):
        with torch.inference_mode():
            result = node.execute(tiny.model, positive, negative, latent, target, 12, 3.0, "euler", "simple", 1, 1, "")
        assert "Target" in result.args[-1]


def test_what_is_no_diffusion_model_is_refused_by_name(tiny_dit):
    from comfy.model_patcher import ModelPatcher
    other = ModelPatcher(nn.Linear(2, 2), torch.device("cpu"), torch.device("cpu"))
    with pytest.raises(ValueError, match="this is a Linear: connect the model that goes into the sampler"):
        pack_module("nodes.toca_cache").ToCaCache.execute(other, True, "auto")


def test_the_page_of_models_is_current():
    """docs/models.md: python run.py docs writes it, but for what was found, which run.py models --page does."""
    from tools import models_page
    page = (models.ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    assert models_page.page(page, {}) == page and models_page.part(page, "0.30.0")


def test_an_entry_has_at_most_five_lines():
    """At level stack; what has published settings or modules has more."""
    import ast
    folder = models.ROOT / "nodes" / "systems"
    for file in folder.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "System" and "TokenStack" in ast.unparse(node):
                assert node.end_lineno - node.lineno < 5, (file.name, node.lineno)
