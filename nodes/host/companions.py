"""Other nodes on the same model that remember answers, as far as they are known by name; what is not known shows when it happens."""

from contextlib import contextmanager

from comfy.patcher_extension import WrappersMP

CACHES = {"easycache": "EasyCache", "lazycache": "LazyCache"}       # keys of their wrappers
STATEFUL = {"KV_Attn_Input": "Flux KV Cache"}                       # classes of patches that keep something from one call to the next


@contextmanager
def left_out(options: dict):
    """Without the wrappers of other caches in a run's transformer options, as long as it lasts -> the names of those left out."""
    wrappers = options.get("wrappers", {})
    found = {CACHES[key] for chains in wrappers.values() for key in chains if key in CACHES}
    if not found:
        yield []
        return
    options["wrappers"] = {kind: {key: chain for key, chain in chains.items() if key not in CACHES} for kind, chains in wrappers.items()}
    try:
        yield sorted(found)
    finally:
        options["wrappers"] = wrappers


def sentence(names: list[str]) -> str:
    """For the report."""
    return f"{' and '.join(names)} on the same model took no part in this run, since two caches undo each other: remove one of the nodes"


def keeping_state(options: dict) -> str:
    """The node whose patch keeps something from one call of the blocks to the next, by name; "" where there is none."""
    patches = [patch for chain in options.get("patches", {}).values() for patch in chain]
    return next((STATEFUL[type(patch).__name__] for patch in patches if type(patch).__name__ in STATEFUL), "")


class Witness:
    """The innermost of the wrappers around a model's own forward, for the length of one call: sees whether it ran.

    options    the call's transformer options, with it; a compiled model keeps those that it was traced with
    """

    def __init__(self, diffusion_model, options: dict):
        self.ran, self.options = False, options
        if hasattr(diffusion_model, "_orig_mod"):
            return
        wrappers = options.get("wrappers", {})
        chains = wrappers.get(WrappersMP.DIFFUSION_MODEL, {})
        self.options = {**options, "wrappers": {**wrappers, WrappersMP.DIFFUSION_MODEL: {**chains, "toca_witness": [self]}}}

    def __call__(self, executor, *args, **kwargs):
        self.ran = True
        return executor(*args, **kwargs)
