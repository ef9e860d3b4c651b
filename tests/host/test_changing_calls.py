"""What goes into the model's calls changes in mid run: the next step is full at every level, and nothing is lost where it need not be."""

import math

import pytest
import torch

import comfy.hooks
from comfy.patcher_extension import WrappersMP

from tools.pack import pack_module

from .conftest import Subject

LEVELS = {"module": {"level": "module"}, "stack": {"level": "stack"}, "output": {"level": "output"}}
ONCE = {"cycle": 100, "warmup_steps": 1}        # the first step alone is full
STEPS, CHANGE = 10, 5
every_level = pytest.mark.parametrize("level", LEVELS)


@pytest.fixture(params=["dit", "flux"])
def two(request, pack, checkpoints):
    from .conftest import make_subject
    return make_subject(request.param, pack, checkpoints)


@pytest.fixture
def flux(pack, checkpoints):
    from .conftest import make_subject
    return make_subject("flux", pack, checkpoints)


def kinds(report):
    return "".join(step.kind[0] for step in report.steps)


def once_more(report):
    """The first step is full, and that of the change."""
    return kinds(report) == "f" + "p" * (CHANGE - 1) + "f" + "p" * (STEPS - CHANGE - 1)


def sampled(subject, cached, change=lambda model: None, level="stack", **settings):
    model, reports = cached(subject, **LEVELS[level], **{**ONCE, **settings})
    change(model)
    return subject.sample(model, steps=STEPS, scheduler="simple"), reports[0]


def counting(model, kind, act):
    """act(step, *arguments of the wrapper) at every evaluation."""
    seen = []

    def wrapper(executor, *args, **kwargs):
        seen.append(1)
        return act(len(seen) - 1, executor, *args, **kwargs)
    model.add_wrapper_with_key(kind, "another", wrapper)


def own_prompt(flux):
    """The same model, with a prompt that may be written into."""
    return Subject("flux", flux.model, [[value.clone(), options] for value, options in flux.positive], flux.negative)


def prompt_changes(replace=True):
    """-> what makes a MODEL whose positive prompt is another one from CHANGE on: another tensor, or other numbers in the same one."""
    def swap(step, executor, *args, **kwargs):
        if step == CHANGE:
            for cond in executor.class_obj.conds["positive"]:
                held = cond["model_conds"]["c_crossattn"]
                if replace:
                    cond["model_conds"]["c_crossattn"] = type(held)(held.cond * 0.5)
                else:
                    held.cond.mul_(0.5)
        return executor(*args, **kwargs)
    return lambda model: counting(model, WrappersMP.PREDICT_NOISE, swap)


@every_level
@pytest.mark.parametrize("replace", [True, False], ids=["replaced", "written into"])
def test_a_conditioning(flux, cached, level, replace):
    """Another tensor takes its place, or other numbers are written into it, as nodes that schedule prompts do."""
    latent, report = sampled(own_prompt(flux), cached, prompt_changes(replace), level)
    assert torch.isfinite(latent).all()
    if replace:                                                     # the host's own tensors tell no versions in inference mode
        assert once_more(report) and f"changed at step {CHANGE + 1} " in report.note
    unchanged, report = sampled(flux, cached, level=level)
    assert kinds(report) == "f" + "p" * (STEPS - 1) and "changed" not in report.note


@pytest.mark.parametrize("level", ["stack", "output"])
def test_what_was_measured_of_one_prompt_says_nothing_of_the_next(flux, cached, level):
    """With a tolerance, as many steps are full after the change as at the start: two to forecast from, one to measure that by. At the
    change itself the other conditioning was forecast."""
    loose = {"tolerance": 100.0, "max_gap": STEPS}
    _, told = sampled(flux, cached, level=level, **loose)
    _, report = sampled(own_prompt(flux), cached, prompt_changes(), level, **loose)
    assert kinds(told).startswith("fffpp") and kinds(told)[CHANGE:CHANGE + 3] == "ppp"
    assert kinds(report)[:CHANGE] == kinds(told)[:CHANGE] and kinds(report)[CHANGE:CHANGE + 4] == "ffff"


@every_level
@pytest.mark.parametrize("what", [{"c_crossattn": lambda given: given * 0.5}, {"strength": lambda _: 0.5}], ids=["tensor", "number"])
def test_what_a_node_between_the_conditionings_and_the_model_hands_on(flux, cached, level, what):
    calls = []

    def wrapper(apply_model, given):
        calls.append(1)
        inside = {"strength": 1.0, **given["c"]}
        if len(calls) > CHANGE:
            inside.update({name: change(inside[name]) for name, change in what.items()})
        return apply_model(given["input"], given["timestep"], **inside)

    _, report = sampled(flux, cached, lambda model: model.set_model_unet_function_wrapper(wrapper), level)
    assert len(calls) == STEPS and once_more(report) and f"changed at step {CHANGE + 1} " in report.note


def test_of_two_conditionings_in_a_call_one_changes():
    """Each is known by its own rows of what came, whatever shape that has."""
    inputs, x = pack_module("nodes.host.conditionings").Inputs(), torch.randn(4, 3, 8, 8)
    inputs.between = True

    def told(value, number):
        prompt = torch.ones(4, 5, 6)
        prompt[3:] *= value
        return inputs.of_call(object(), x, prompt, {"of all": torch.ones(1, 2), "kinds": [torch.ones(4), number]}, {"uuids": ("a", "b")})

    (first, second), (same, changed), (third, fourth) = told(1.0, 2), told(0.5, 2), told(1.0, 3)
    assert first == same and second != changed and first != third and second != fourth


@every_level
@pytest.mark.parametrize("join", [True, False], ids=["join", "leave"])
def test_tokens_that_join_or_leave(flux, cached, level, join):
    """A reference picture that is given for a part of the run."""
    picture, calls = torch.randn(1, 16, 8, 8, generator=torch.Generator().manual_seed(2)), []

    def wrapper(apply_model, given):
        calls.append(1)
        inside = dict(given["c"])
        if (len(calls) > CHANGE) == join:
            inside["ref_latents"] = [picture.repeat(len(given["input"]), 1, 1, 1)]
        return apply_model(given["input"], given["timestep"], **inside)

    latent, report = sampled(flux, cached, lambda model: model.set_model_unet_function_wrapper(wrapper), level)
    assert torch.isfinite(latent).all() and once_more(report)


class Tiles:
    """Samples the left and the right half apart, as nodes for large pictures do; in turning order at every second step."""

    def __init__(self, turning):
        self.turning, self.steps = turning, 0

    def __call__(self, apply_model, given):
        self.steps += 1
        x, halves = given["input"], torch.empty_like(given["input"])
        middle = x.shape[-1] // 2
        places = [slice(0, middle), slice(middle, None)]
        for place in reversed(places) if self.turning and self.steps % 2 else places:
            halves[..., place] = apply_model(x[..., place].contiguous(), given["timestep"], **given["c"])
        return halves


@every_level
@pytest.mark.parametrize("turning", [False, True], ids=["in order", "in turns"])
def test_tiles_never_read_each_others_cache(two, cached, level, turning):
    plain = two.model.clone()
    plain.set_model_unet_function_wrapper(Tiles(turning))
    truth = two.sample(plain, steps=STEPS, scheduler="simple")
    latent, report = sampled(two, cached, lambda model: model.set_model_unet_function_wrapper(Tiles(turning)), level, cycle=3)
    assert ("changed at step" in report.note) == turning and (turning or kinds(report).count("p") > 5)
    assert ((latent - truth).norm() / truth.norm()).item() < 0.4, kinds(report)


def lora_of(subject, seed=0):
    """A LoRA for one layer, in the host's own names."""
    name, weight = next((name, one) for name, one in subject.diffusion_model.named_parameters() if name.endswith("proj.weight"))
    generator, path = torch.Generator().manual_seed(seed), f"diffusion_model.{name.removesuffix('.weight')}"
    rows, columns = weight.shape[0], weight[0].numel()
    return {f"{path}.lora_up.weight": torch.randn(rows, 2, generator=generator),
            f"{path}.lora_down.weight": torch.randn(2, columns, generator=generator).reshape(2, *weight.shape[1:])}


@every_level
def test_a_lora_by_hooks_whose_strength_a_keyframe_changes(two, cached, level):
    hooks, frames = comfy.hooks.create_hook_lora(lora_of(two), 1.0, 0.0), comfy.hooks.HookKeyframeGroup()
    for strength, start in ((1.0, 0.0), (0.3, 0.5)):
        frames.add(comfy.hooks.HookKeyframe(strength=strength, start_percent=start))
    hooks.set_keyframes_on_hooks(frames)
    conds = comfy.hooks.set_hooks_for_conditioning(two.positive, hooks)
    hooked = Subject(two.name, two.model, conds, comfy.hooks.set_hooks_for_conditioning(two.negative, hooks), two.frames)
    plain = hooked.sample(steps=STEPS, scheduler="simple")
    assert not torch.equal(plain, two.plain(steps=STEPS, scheduler="simple"))
    latent, report = sampled(hooked, cached, level=level)
    assert torch.isfinite(latent).all() and kinds(report).count("f") == 2 and kinds(report)[0] == "f"
    assert "changed at step" in report.note
    exact, _ = sampled(hooked, cached, level=level, cycle=1)
    assert torch.equal(exact, plain)


@every_level
def test_a_controlnet_for_a_part_of_the_run(flux, cached, level):
    import comfy.controlnet

    class Constant(comfy.controlnet.ControlBase):
        """Adds the same to the first block's picture at every step."""

        def get_control(self, x_noisy, t, cond, batched_number, transformer_options):
            if self.timestep_range is not None and not self.timestep_range[1] <= t[0] <= self.timestep_range[0]:
                return None
            tokens = x_noisy.shape[-1] * x_noisy.shape[-2] // 4
            return {"input": [torch.full((x_noisy.shape[0], tokens, flux.diffusion_model.hidden_size), 0.5)], "output": []}

        def copy(self):
            other = Constant()
            self.copy_to(other)
            return other

    control = Constant().set_cond_hint(torch.zeros(1, 3, 16, 16), 1.0, (0.5, 1.0))
    give = lambda conds: [[value, {**options, "control": control, "control_apply_to_uncond": False}] for value, options in conds]   # noqa: E731
    held = Subject("flux", flux.model, give(flux.positive), give(flux.negative))
    latent, report = sampled(held, cached, level=level)
    assert torch.isfinite(latent).all() and kinds(report).count("f") == 2 and "changed at step" in report.note


def skipping(model, node="SkipLayerGuidanceDiTSimple", double="1", single="1", start=0.0, end=1.0):
    from comfy_extras import nodes_slg
    options = {} if node.endswith("Simple") else {"scale": 3.0, "rescaling_scale": 0.0}
    names = {"double_layers": double, "single_layers": single, "start_percent": start, "end_percent": end, **options}
    made = getattr(nodes_slg, node)
    return (made.execute(model, **names).args if hasattr(made, "execute") else made().skip_guidance(model, **names))[0]


@every_level
def test_patches_for_a_part_of_the_run(flux, cached, level):
    """Inner blocks are left out of the negative's call from the middle on."""
    model, reports = cached(flux, **LEVELS[level], **ONCE)
    latent = flux.sample(skipping(model, start=0.5), steps=STEPS, scheduler="simple")
    assert torch.isfinite(latent).all() and "changed at step" in reports[0].note
    without, again = cached(flux, **LEVELS[level], **ONCE)
    flux.sample(without, steps=STEPS, scheduler="simple")
    assert reports[0].model_calls["full"] > again[0].model_calls["full"]            # the negative's alone, in a step that is partial


@every_level
@pytest.mark.parametrize("layers", [("0", ""), ("", "1"), ("0", "1")], ids=["first", "last", "both"])
@pytest.mark.parametrize("node", ["SkipLayerGuidanceDiT", "SkipLayerGuidanceDiTSimple"])
def test_a_patch_that_replaces_an_outer_block(flux, cached, level, layers, node):
    """Those calls alone are plain; the report counts what ran."""
    depth = len(flux.diffusion_model.single_blocks) - 1
    double, single = layers[0], layers[1].replace("1", str(depth))
    plain = flux.sample(skipping(flux.model, node, double, single), steps=STEPS)
    for settings in ({"cycle": 3}, {"cycle": 1, "mlp_cycle": None}):
        model, reports = cached(flux, **LEVELS[level], **settings)
        latent = flux.sample(skipping(model, node, double, single), steps=STEPS)
        error = ((latent - plain).norm() / plain.norm()).item()
        assert error < 0.5 and math.isfinite(error)
        assert sum(reports[0].calls(kind) for kind in ("full", "partial", "plain", "other")) == STEPS
        if settings["cycle"] == 1:
            assert torch.equal(latent, plain)
        else:
            assert reports[0].calls("partial") > 4 and reports[0].calls("other") == 0
            assert ("computed plainly" in reports[0].note) == (level == "stack")


MODES = {"module": {"level": "module"}, "forecast": {"level": "module", "stale_tokens": "forecast"}, "stack": {"level": "stack"},
         "output": {"level": "output"}, "fp8": {"level": "stack", "cache_dtype": "fp8"},
         "bf16": {"level": "module", "cache_dtype": "bf16"},
         "refresh": {"level": "stack", "refresh_ratio": 0.3}, "tolerance": {"level": "stack", "tolerance": 20.0}}


@pytest.mark.parametrize("mode", MODES)
def test_conditionings_computed_together_and_apart_by_turns(subject, cached, monkeypatch, mode):
    """As a host does whose memory is tight: what is kept of them goes on, and the picture is that of any other run."""
    if mode == "refresh" and subject.name not in ("dit", "flux"):
        pytest.skip("no token is refreshed by itself there")
    base, settings = type(subject.model.model), {"cycle": 4, **MODES[mode]}
    shared = settings["level"] == "module" and subject.name == "open_sora"          # which chooses tokens for both conditionings at once
    if settings["level"] == "module" and not shared:
        settings["score"] = "self_attn"
    model, reports = cached(subject, **settings)
    together = subject.sample(model, steps=12, scheduler="simple")
    need = base.memory_required

    def turn(step, *_):
        monkeypatch.setattr(base, "memory_required", need if step % 3 == 0 else lambda *args, **kwargs: 1e30)

    by_turns = subject.sample(model, steps=12, scheduler="simple", callback=turn)
    monkeypatch.setattr(base, "memory_required", need)
    most = 0.05 if shared else {"fp8": 5e-3, "bf16": 5e-4}.get(mode, 1e-4)          # which round to a sixteenth, and to a 256th
    assert ((by_turns - together).norm() / together.norm()).item() < most
    assert kinds(reports[0]) == kinds(reports[1]) and kinds(reports[1]).count("p") > 3
    assert sum(reports[1].model_calls.values()) > sum(reports[0].model_calls.values()) and reports[1].model_calls["plain"] == 0
    assert reports[1].flops == pytest.approx(reports[0].flops, rel=1e-6)
    assert ("chose its fresh tokens by itself" in reports[1].note) == shared and reports[0].note == ""
    assert shared or reports[1].note == ""
    assert reports[1].cache_bytes == pytest.approx(reports[0].cache_bytes, rel=0.05)


def test_where_guidance_ends_in_mid_run_nothing_is_said_of_memory(tiny_dit, cached):
    """As the host's CFGOverride has it: one of the two conditionings leaves, and the other goes on with what is kept of it."""
    guided = []

    def override(execute, x, timestep, *args, **kwargs):
        guider = execute.class_obj
        guided.append(bool(timestep.flatten()[0] > 2))
        before, guider.cfg = guider.cfg, guider.cfg if guided[-1] else 1.0
        try:
            return execute(x, timestep, *args, **kwargs)
        finally:
            guider.cfg = before

    model, reports = cached(tiny_dit, cycle=4, fresh_ratio=0.3, score="random")
    from comfy.patcher_extension import WrappersMP
    model.add_wrapper(WrappersMP.PREDICT_NOISE, override)
    tiny_dit.sample(model, steps=12)
    assert reports[0].calls("partial") > 5 and 3 < sum(guided) < 12
    assert reports[0].note == ""


@pytest.mark.parametrize("setting", ["auto", "module", "stack", "output"])
def test_where_the_noise_rises_again_the_run_begins_anew(setting):
    """As in restart sampling: what was kept is of the picture before the new noise."""
    from tools.matrix.graph import conditions
    from tools.matrix.settings import SETTINGS
    from tools.matrix.subjects import subjects
    subject, reports = subjects()["flux"], []
    graph = conditions()["a run that goes back up"].make(subject.graph(), subject)
    graph.run(SETTINGS[setting].install(graph.model, reports), 1)
    steps = reports[0].steps
    [risen] = [index for index in range(1, len(steps)) if steps[index].sigma > steps[index - 1].sigma]
    assert [step.kind for step in steps[:risen]].count("partial") and steps[risen].kind == "full"
    assert f"at step {risen + 1} (" in reports[0].note and "new noise" in reports[0].note
    assert setting != "auto" or steps[risen + 1].error is not None          # what was kept at that step is there at the next


@every_level
def test_a_noise_level_that_came_otherwise_drops_what_is_kept(flux, cached, monkeypatch, level):
    """On a card they are taken as foretold and read later; here one of them is said to have been another."""
    asked = []
    monkeypatch.setattr(pack_module("toca_core.ahead").NoiseLevels, "came_otherwise", lambda _: asked.append(True) or len(asked) == 6)
    model, reports = cached(flux, **LEVELS[level], **ONCE)
    flux.sample(model, steps=STEPS)
    assert [step.kind for step in reports[0].steps] == ["full", *["partial"] * 4, "full", *["partial"] * 4]
    assert reports[0].note.count("another noise level than was foretold") == 1
