"""What goes wrong in mid run: afterwards nothing of the cache is alive, the model is as it was, and the next run is right."""

import gc

import pytest
import torch

import comfy.model_management as management

STEPS = 9
LEVELS = {"module": {"level": "module"}, "forecast": {"level": "module", "stale_tokens": "forecast"}, "stack": {"level": "stack"},
          "output": {"level": "output"}}
FAILING = 3                     # call of a block in which it fails: in the last full step at the latest, with something in the cache

# What allocators say. Those of torch are of a class of their own, whatever the words.
OUT_OF_MEMORY = {
    "cpu": lambda: RuntimeError("[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to "
                                "allocate 1152921504606846976 bytes. Error code 12 (Cannot allocate memory)"),
    "cuda": lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 23.64 GiB."),
    "cuda, asynchronous": lambda: torch.OutOfMemoryError("Allocation on device 0 would exceed allowed memory. (out of memory)\n"
                                                         "Currently allocated     : 22.10 GiB"),
    "cuda, of the runtime": lambda: RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
    "hip": lambda: torch.OutOfMemoryError("HIP out of memory. Tried to allocate 2.00 GiB."),
    "xpu": lambda: torch.OutOfMemoryError("XPU out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 15.91 GiB."),
    "xpu, of the runtime": lambda: RuntimeError("XPU out of memory. Tried to allocate 2.00 GiB."),
    "mps": lambda: RuntimeError("MPS backend out of memory (MPS allocated: 17.99 GB, other allocations: 48.00 KB, max allowed: 18.13 GB)."),
    "python": lambda: MemoryError(),
}


systems = pytest.mark.parametrize("subject", ["dit", "flux"], indirect=True)


@pytest.fixture(params=LEVELS)
def level(request):
    return {"cycle": 3, "fresh_ratio": 0.3, **LEVELS[request.param]}


@pytest.fixture
def block(subject, pack):
    """The first of the model's last blocks."""
    return subject.diffusion_model.get_submodule(pack.systems.system_of(subject.diffusion_model).stacks[-1].path)[0]


@pytest.fixture
def failing(block, monkeypatch):
    """failing(make, times): from its call number FAILING on, the block raises what make() gives, so many times -> the calls so far."""
    def failing(make, times=1):
        calls = []

        def forward(*args, **kwargs):
            calls.append(1)
            if FAILING <= len(calls) < FAILING + times:
                raise make()
            return type(block).forward(block, *args, **kwargs)
        monkeypatch.setitem(block.__dict__, "forward", forward)
        return calls
    return failing


def alive() -> list[str]:
    """What the core keeps for a run, wherever it is still held: runs, caches, stores, anchors."""
    gc.collect()
    parts = ("toca_core.run.SamplingRun", "toca_core.keep.cache", "toca_core.keep.storage", "toca_core.keep.forecast", "toca_core.levels",
             "toca_core.calls")
    kinds = {type(thing) for thing in gc.get_objects()}
    names = {f"{kind.__module__}.{kind.__qualname__}" for kind in kinds if not issubclass(kind, type)}
    return sorted(name for name in names if any(part in name for part in parts))


def stopped_by(kind, subject, model, **options):
    """Samples, and expects to be stopped by this error, of which nothing is kept."""
    with pytest.raises(kind) as error:
        subject.sample(model, steps=STEPS, **options)
    words = str(error.value)
    error.value.__traceback__ = None
    del error
    return words


def weights(subject) -> dict:
    return {name: value.clone() for name, value in subject.model.model.state_dict().items()}


def assert_as_before(subject, model, expected, before, reports):
    """Nothing of the stopped run is alive, no weight has changed, and the next run is the one before."""
    assert alive() == []
    assert all(torch.equal(value, before[name]) for name, value in subject.model.model.state_dict().items())
    assert torch.equal(subject.sample(model, steps=STEPS), expected)
    assert reports[-1].steps == reports[0].steps
    assert torch.equal(subject.sample(steps=STEPS), subject.plain(steps=STEPS))


@pytest.fixture
def first(subject, cached, level):
    """(MODEL, latent of its first run, reports, weights) with the level's settings."""
    subject.plain(steps=STEPS)
    model, reports = cached(subject, **level)
    latent = subject.sample(model, steps=STEPS)
    assert reports[0].calls("partial") == 6
    return model, latent, reports, weights(subject)


@systems
@pytest.mark.parametrize("kind", [management.InterruptProcessingException, ValueError, KeyboardInterrupt],
                         ids=["interrupt", "error", "Ctrl-C"])
def test_a_run_that_is_stopped_in_a_block(subject, first, failing, monkeypatch, kind):
    model, expected, reports, before = first
    failing(lambda: kind("stopped here"), times=99)
    stopped_by(kind, subject, model)
    monkeypatch.undo()
    assert kind.__name__ in reports[-1].note
    assert_as_before(subject, model, expected, before, reports)


@pytest.mark.parametrize("allocator", OUT_OF_MEMORY)
def test_memory_that_runs_out_in_a_block(tiny_dit, cached, monkeypatch, pack, allocator, level):
    """With a cache to drop there is hope: it is dropped, and the run goes on plainly."""
    model, reports = cached(tiny_dit, **level)
    expected, before = tiny_dit.sample(model, steps=STEPS), weights(tiny_dit)
    block, calls = tiny_dit.diffusion_model.blocks[0], []

    def forward(*args, **kwargs):
        calls.append(1)
        if len(calls) == 2:
            raise OUT_OF_MEMORY[allocator]()
        return type(block).forward(block, *args, **kwargs)
    monkeypatch.setitem(block.__dict__, "forward", forward)
    latent = tiny_dit.sample(model, steps=STEPS)
    monkeypatch.undo()
    assert torch.isfinite(latent).all() and "Memory ran out" in reports[-1].note and reports[-1].steps[-1].kind == "plain"
    assert_as_before(tiny_dit, model, expected, before, reports)


@systems
def test_memory_that_has_run_out_for_good(subject, first, failing, monkeypatch):
    """The host's own answer to it comes through."""
    model, expected, reports, before = first
    failing(OUT_OF_MEMORY["cuda"], times=99)
    assert "CUDA out of memory" in stopped_by(torch.OutOfMemoryError, subject, model)
    monkeypatch.undo()
    assert_as_before(subject, model, expected, before, reports)


@systems
@pytest.mark.parametrize("when", ["in mid run", "between runs"])
def test_a_model_that_is_unloaded(subject, first, when):
    """As another node may ask for its memory."""
    model, expected, reports, before = first

    def unload(step, *_):
        if step == 4:
            management.unload_all_models()
    if when == "between runs":
        management.unload_all_models()
    latent = subject.sample(model, steps=STEPS, callback=unload if when == "in mid run" else None)
    assert torch.equal(latent, expected)
    assert_as_before(subject, model, expected, before, reports)


@systems
def test_nothing_is_alive_after_a_run_that_ends_well(subject, first):
    assert alive() == []
