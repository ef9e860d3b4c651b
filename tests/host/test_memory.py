"""Memory that fits: predicted before anything is kept, held under a budget, and given back where it runs out."""

import gc

import pytest
import torch

import comfy.model_management

from .conftest import Subject

SETTINGS = {"fresh_ratio": 0.3, "cycle": 2}
MODES = {"module": {}, "forecast": {"stale_tokens": "forecast"}, "forecast 2": {"stale_tokens": "forecast", "order": 2},
         "untrusted": {"stale_tokens": "forecast", "trust": False},
         "random": {"score": "random"}, "stack 0": {"level": "stack", "order": 0}, "stack": {"level": "stack"},
         "stack 2": {"level": "stack", "order": 2}, "untrusted stack": {"level": "stack", "trust": False},
         "tokens": {"level": "stack", "refresh_ratio": 0.2}, "tokens 2": {"level": "stack", "refresh_ratio": 0.2, "order": 2}}


# What a model's layout decides is tried on every system, what the way of keeping and forecasting decides on one of them each.
PAIRS = [(system, mode) for system in ("dit", "pixart", "open_sora", "flux") for mode in ("module", "forecast", "stack")]
PAIRS += [("dit", "random"), ("pixart", "forecast 2"), ("pixart", "untrusted stack"), ("open_sora", "untrusted"),
          ("open_sora", "stack 2"), ("flux", "random"), ("flux", "stack 0"), ("flux", "stack 2"), ("dit", "tokens"), ("flux", "tokens 2")]
smoke = pytest.mark.smoke
every_pair = pytest.mark.parametrize("subject, mode", sorted(PAIRS), indirect=True)      # system by system: each is loaded once


@pytest.fixture
def mode(request):
    return {**SETTINGS, **MODES[request.param]}


@pytest.fixture
def bf16_subject(subject):
    """The same model, computing in bf16."""
    model = subject.model.clone()
    model.set_model_compute_dtype(torch.bfloat16)
    return Subject(subject.name, model, subject.positive, subject.negative, subject.frames)


def known(subject, cached, **settings):
    """As `sample`, but sampled once for all tests that compare with it."""
    return subject.once(("memory", settings), lambda: sample(subject, cached, **settings))


def sample(subject, cached, **settings):
    """(latent, report) of a run with these settings."""
    options = {name: settings.pop(name) for name in ("cfg", "batch", "steps", "sampler") if name in settings}
    model, reports = cached(subject, **settings)
    return subject.sample(model, **{"steps": 10, **options}), reports[0]


@smoke
@every_pair
def test_the_cache_takes_what_was_predicted(subject, cached, mode):
    _, report = known(subject, cached, **mode)
    assert report.predicted_cache_bytes == report.cache_bytes > 0 and report.note == ""
    assert f"(predicted {report.predicted_cache_bytes / 2**20:.1f})" in report.summary()
    assert report.as_dict()["predicted_cache_bytes"] == report.predicted_cache_bytes


@pytest.mark.parametrize("settings", [{"cfg": 1.0}, {"batch": 3}, {"cache_dtype": "bf16"}, {"cache_dtype": "fp8"},
                                      {"cache_dtype": "fp8", "level": "stack"}, {"sampler": "uni_pc", "level": "stack"}])
def test_likewise_without_guidance_for_batches_and_in_fewer_bits(subject, cached, settings):
    _, report = sample(subject, cached, **SETTINGS, **settings)
    assert report.predicted_cache_bytes == report.cache_bytes > 0 and report.note == ""


def test_likewise_where_conditionings_come_one_by_one(subject, cached, monkeypatch):
    monkeypatch.setattr(type(subject.model.model), "memory_required", lambda *args, **kwargs: 1e30)
    seen = []
    for settings in ({}, {"level": "stack"}):
        _, report = sample(subject, cached, **SETTINGS, **settings, memory_budget=1)
        assert report.model_calls["full"] == 10
        assert report.predicted_cache_bytes == report.cache_bytes > 0
        seen.append(report.predicted_cache_bytes)
    assert seen[0] > 2 * seen[1]


def test_likewise_for_prompts_that_take_turns(tiny_dit, cached, pack):
    """For one step, the first without the one before, its cache still lies beside the new one."""
    first, second = pack.dit_loader.conditioning([1]), pack.dit_loader.conditioning([3])
    first[0][1].update(start_percent=0.0, end_percent=0.5)
    second[0][1].update(start_percent=0.5, end_percent=1.0)
    turns = Subject("dit", tiny_dit.model, first + second, tiny_dit.negative)
    alone = sample(tiny_dit, cached, **SETTINGS)[1].cache_bytes
    _, report = sample(turns, cached, **SETTINGS, memory_budget=1.1 * alone / 2**30)
    assert report.predicted_cache_bytes == report.cache_bytes == alone
    assert report.settings["cache_dtype"] == "same" and "Some conditionings are computed plainly" in report.note
    _, report = sample(turns, cached, **SETTINGS)
    assert report.predicted_cache_bytes == report.cache_bytes == 2 * alone and report.note == ""


def test_likewise_for_a_model_in_bf16_which_bf16_storage_leaves_alone(subject, bf16_subject, cached):
    for level in ("module", "stack"):
        wide = known(subject, cached, **SETTINGS, level=level)[1].cache_bytes
        same, report = sample(bf16_subject, cached, **SETTINGS, level=level)
        assert report.cache_bytes < 0.6 * wide
        assert report.predicted_cache_bytes == report.cache_bytes > 0
        stored, _ = sample(bf16_subject, cached, **SETTINGS, level=level, cache_dtype="bf16")
        assert torch.equal(same, stored)


@pytest.mark.parametrize("share, words", [pytest.param(0.6, "kept in bf16 instead", marks=smoke), (0.5, "kept in fp8 instead")])
def test_a_budget_is_kept_by_other_means(subject, cached, share, words):
    settings = {**SETTINGS, "score": "random"}
    need = known(subject, cached, **settings)[1].cache_bytes
    latent, report = sample(subject, cached, **settings, memory_budget=share * need / 2**30)
    assert 0 < report.cache_bytes <= share * need and report.predicted_cache_bytes <= share * need
    assert report.predicted_cache_bytes == report.cache_bytes > 0
    assert report.note.startswith("The cache would take ") and words in report.note and report.note in report.summary()
    assert torch.isfinite(latent).all() and report.calls("partial") == 5


@pytest.mark.parametrize("order, words", [(1, "level stack)"), (0, "level stack, order 0)")])
def test_a_budget_too_small_for_modules_is_kept_by_the_stack_level(subject, cached, order, words):
    need = known(subject, cached, **SETTINGS, level="stack", order=order)[1].cache_bytes
    latent, report = sample(subject, cached, **SETTINGS, memory_budget=1.01 * need / 2**30)
    assert report.cache_bytes == need and words in report.note and report.settings["level"] == "stack"
    assert torch.isfinite(latent).all() and [step.kind for step in report.steps] == ["full", "partial"] * 5


def test_a_budget_of_half_is_kept_at_the_stack_level_too(subject, cached):
    need = known(subject, cached, **SETTINGS, level="stack")[1].cache_bytes
    _, report = sample(subject, cached, **SETTINGS, level="stack", memory_budget=0.55 * need / 2**30)
    assert 0 < report.cache_bytes <= 0.55 * need
    assert "kept in bf16 instead" in report.note and report.settings["cache_dtype"] == "bf16"


@smoke
@pytest.mark.parametrize("settings", [{}, {"level": "stack"}])
def test_no_budget_to_speak_of_samples_plainly(subject, cached, settings):
    latent, report = sample(subject, cached, **SETTINGS, **settings, memory_budget=1e-9)
    assert torch.equal(latent, subject.plain(steps=10))
    assert "of a budget of 1 bytes, and nothing smaller fits either: nothing is cached" in report.note
    assert report.cache_bytes == 0 and report.calls("plain") == 10


def test_the_host_says_what_is_free(tiny_dit, cached, monkeypatch):
    monkeypatch.setattr(comfy.model_management, "get_free_memory", lambda device, both=False: (1 << 20, 1 << 20) if both else 1 << 20)
    monkeypatch.setattr(comfy.model_management, "minimum_inference_memory", lambda: 100)
    monkeypatch.setattr(type(tiny_dit.model.model), "memory_required", lambda self, shape, **options: 0)
    monkeypatch.setattr(comfy.model_management, "get_free_memory", lambda device, both=False: (0, 0) if both else 0)
    monkeypatch.setattr(comfy.model_management, "extra_reserved_memory", lambda: 0)
    latent, report = sample(tiny_dit, cached, **SETTINGS)
    assert "budget of 20 bytes" in report.note and torch.equal(latent, tiny_dit.plain(steps=10))
    _, report = sample(tiny_dit, cached, **SETTINGS, memory_budget=1)
    assert report.note == "" and report.calls("partial") == 5


@pytest.mark.parametrize("level", ["module", "stack"])
@pytest.mark.parametrize("dtype, most", [("bf16", 0.02), ("fp8", 0.2)])
def test_fewer_bits_change_the_picture_a_little(subject, cached, level, dtype, most):
    same, _ = known(subject, cached, **SETTINGS, level=level)
    for device in ("gpu", "cpu"):
        fewer, report = sample(subject, cached, **SETTINGS, level=level, cache_dtype=dtype, cache_device=device)
        change = ((fewer - same).norm() / same.norm()).item()
        assert 0 < change < most and report.calls("partial") == 5


def test_what_was_computed_anew_is_stored_so_too(subject, cached):
    """One full step, then partial ones alone: tokens recomputed at one of them are read at the next, not those of the full step."""
    most = {"dit": 0.001, "pixart": 0.002, "open_sora": 0.01, "flux": 0.01}[subject.name]
    same, rounded = (sample(subject, cached, fresh_ratio=0.5, cycle=10, cache_dtype=dtype)[0] for dtype in ("same", "bf16"))
    assert 0 < ((rounded - same).norm() / same.norm()).item() < most


@every_pair
def test_the_hosts_memory_is_the_models_on_a_cpu(subject, cached, mode):
    same, there = (run(subject, cached, **mode, **device)[0] for run, device in ((known, {}), (sample, {"cache_device": "cpu"})))
    assert torch.equal(same, there)


@pytest.mark.parametrize("settings", [{}, {"level": "stack"}, {"stale_tokens": "forecast"}])
@pytest.mark.parametrize("method, failing", [("put", 1), pytest.param("put", 3, marks=smoke), ("get", 2)])
def test_where_memory_runs_out_the_run_goes_on_plainly(subject, cached, monkeypatch, settings, method, failing):
    """The allocator's own error, in the first step's cache, in a later one's and where something kept is read."""
    from tools.pack import pack_module
    store, calls = pack_module("toca_core.keep.storage").Store, []
    original = getattr(store, method)

    def fail(self, tensor):
        calls.append(1)
        return torch.empty(1 << 60, dtype=torch.uint8) if len(calls) == failing else original(self, tensor)

    monkeypatch.setattr(store, method, fail)
    gc.collect()                                                    # what earlier tests left lying about
    model, reports = cached(subject, **SETTINGS, **settings)
    left = []

    def count(step, *_):
        if step == 9:
            left.extend(thing for thing in gc.get_objects() if type(thing) is store)

    latent = subject.sample(model, steps=10, callback=count)
    report = reports[0]
    assert len(calls) == failing and torch.isfinite(latent).all() and left == []
    assert "Memory ran out" in report.note and report.calls("plain") > 5 and report.steps[-1].kind == "plain"
    if (method, failing) == ("put", 1):
        assert torch.equal(latent, subject.plain(steps=10))


WORDS = {"caching allocator": "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 8.00 GiB",
         "cudaMallocAsync": "Allocation on device 0 would exceed allowed memory. (out of memory)\nCurrently allocated     : 21.30 GiB",
         "short": "Allocation on device ", "xpu": "XPU out of memory. Tried to allocate 2.00 GiB", "none": ""}
ERRORS = [(torch.OutOfMemoryError, words) for words in WORDS.values()]             # made anew, since one that was raised holds frames
ERRORS += [(RuntimeError, words) for words in ("HIP out of memory. Tried", "MPS backend out of memory (MPS allocated: 9 GB)",
                                             "CUDA error: out of memory", "CUDA driver error: out of memory")]
ERRORS.append((MemoryError, ""))


@pytest.mark.parametrize("settings", [{}, {"level": "stack"}, {"level": "output"}], ids=["module", "stack", "output"])
@pytest.mark.parametrize("error", ERRORS, ids=[*WORDS, "hip", "mps", "cuda", "driver", "python"])
def test_however_an_allocator_says_it(tiny_dit, cached, settings, error):
    """In the model's own code, where the run would be lost without the room that the cache gives back."""
    block, calls = tiny_dit.diffusion_model.blocks[-1], []

    def failing(*args, **kwargs):
        calls.append(1)
        if len(calls) == 2:
            raise error[0](error[1])
        return type(block).forward(block, *args, **kwargs)

    model, reports = cached(tiny_dit, **{**SETTINGS, "cycle": 1, "mlp_cycle": 2, **settings, **({"tolerance": 5.0} if settings else {})})
    block.__dict__["forward"] = failing
    try:
        latent = tiny_dit.sample(model, steps=6)
    finally:
        del block.__dict__["forward"]
    assert "Memory ran out" in reports[0].note and reports[0].calls("plain") == 5
    assert torch.equal(latent, tiny_dit.plain(steps=6))


def test_other_errors_are_the_users_to_see(tiny_dit, cached):
    block = tiny_dit.diffusion_model.blocks[-1]

    def failing(*args, **kwargs):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    block.__dict__["forward"] = failing
    try:
        with pytest.raises(RuntimeError, match="mat1"):
            tiny_dit.sample(cached(tiny_dit, **SETTINGS)[0], steps=3)
    finally:
        del block.__dict__["forward"]


@pytest.mark.parametrize("settings", [{}, {"level": "stack"}, {"level": "output"}], ids=["module", "stack", "output"])
def test_the_host_is_told_what_the_cache_needs_before_it_loads(subject, cached, monkeypatch, settings):
    asked, load = [], comfy.model_management.load_models_gpu

    def loading(models, memory_required=0, **options):
        asked.append(memory_required)
        return load(models, memory_required=memory_required, **options)

    monkeypatch.setattr(comfy.model_management, "load_models_gpu", loading)
    subject.sample(steps=3)
    model, reports = cached(subject, **SETTINGS, **settings)
    subject.sample(model, steps=3)
    assert asked[1] - asked[0] == pytest.approx(reports[0].predicted_cache_bytes, rel=0.05)
    assert asked[1] > asked[0] > 0
    subject.sample(cached(subject, fresh_ratio=1.0)[0], steps=3)
    assert asked[2] == asked[0]                                     # where nothing is cached nothing is asked for


SHORTAGES = [(1, 10), (1, 2.05), (1, 2.3), (1, 2.45), (2, 3.1), (1, 1.9), (1, 1.2), (4, 4.5), (4, 2), (0.5, 0.9)]


@pytest.fixture
def tight(tiny_dit, pack, monkeypatch):
    """tight(preset, batch, free) -> the report of a run with so much free memory, less what the cache holds, where the host reckons
    `batch` for two conditionings; both in units of what the cache takes with room."""
    gc.collect()                                                    # or another test's patches would be taken off the weights in between
    comfy.model_management.load_models_gpu([tiny_dit.model])

    def run(preset, batch=None, free=None):
        held, made = [], pack.run.SamplingRun.__init__

        def noted(self, *args, **kwargs):
            made(self, *args, **kwargs)
            held.append(self.caches)

        reports = []
        model = pack.seam.install(tiny_dit.model, pack.settings.Settings(preset, pack.config.ToCaConfig()), reports.append)
        if free is not None:
            unit = run(preset).cache_bytes
            left = lambda *_, **__: free * unit - (held[-1].bytes if held else 0)       # noqa: E731
            base = type(tiny_dit.model.model)
            monkeypatch.setattr(comfy.model_management, "get_free_memory",
                                lambda device=None, both=False: (left(), left()) if both else left())
            monkeypatch.setattr(comfy.model_management, "minimum_inference_memory", lambda: 0)
            monkeypatch.setattr(comfy.model_management, "extra_reserved_memory", lambda: 0)
            monkeypatch.setattr(base, "memory_required", lambda self, shape, cond_shapes=(): batch * unit * shape[0] / 2)
        monkeypatch.setattr(pack.run.SamplingRun, "__init__", noted)
        with monkeypatch.context() as loading:                      # what is loaded is loaded already
            loading.setattr(comfy.model_management, "load_models_gpu", lambda *args, **kwargs: None)
            tiny_dit.known["latent"] = tiny_dit.sample(model, steps=12)
        monkeypatch.undo()
        return reports[-1]
    return run


@pytest.mark.parametrize("batch, free", SHORTAGES)
@pytest.mark.parametrize("preset", ["paper", "auto"])
def test_a_shortage_of_memory_never_makes_it_slower_nor_changes_the_picture(tiny_dit, tight, preset, batch, free):
    room, picture = tight(preset), tiny_dit.known["latent"]
    report, again = tight(preset, batch, free), tiny_dit.known["latent"]
    assert report.flops_speedup > 0.98
    if report.calls("partial"):
        assert report.flops_speedup > 0.9 * room.flops_speedup and report.model_calls["plain"] == 0
    else:
        assert "nothing is cached" in report.note
        picture = tiny_dit.plain(steps=12)
    assert ((again - picture).norm() / picture.norm()).item() < 1e-5                # a batch of two rounds otherwise than two of one


def test_a_batch_that_is_split_in_mid_run_takes_no_more_room(tiny_dit, cached, monkeypatch):
    """The old cache becomes those of its conditionings."""
    need = sample(tiny_dit, cached, **SETTINGS)[1].cache_bytes
    base = type(tiny_dit.model.model)

    def split(step, *_):
        if step == 3:
            monkeypatch.setattr(base, "memory_required", lambda *args, **kwargs: 1e30)

    model, reports = cached(tiny_dit, **SETTINGS, memory_budget=1.2 * need / 2**30)
    latent = tiny_dit.sample(model, steps=10, callback=split)
    assert torch.isfinite(latent).all() and reports[0].cache_bytes <= 1.2 * need
    assert reports[0].note == "" and [step.kind for step in reports[0].steps] == ["full", "partial"] * 5
