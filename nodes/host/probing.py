"""What a plain sampling run tells beside its result: what its calls work on, and how sensitive each module of each block is."""

import time
from collections import defaultdict

import comfy.model_management as management

from ...toca_core.calls.probe import ProbeCall, RecordCall, probes, relative_error
from ...toca_core.swap import swapped
from .calls import CallByCall

KEY = "toca_probing"
SHARES = (0.2, 0.5, 0.8)        # of the run, where modules are probed
STALE = 2                       # steps by which what is reused is older


def probed(model, probing: "Probing"):
    """A clone of a MODEL whose next sampling run is probed."""
    return probing.put_on(model, KEY)


class Probing(CallByCall):
    """For one run of `steps` steps.

    calls        (bound model, sizes, conditionings) of every call of the first evaluation
    errors       name of a module -> per block the relative errors that it made
    progress     called once per probe
    seconds      spent on probes; the run itself goes on as without them
    """

    def __init__(self, steps: int, progress=lambda: None, shares=SHARES):
        super().__init__()
        self.moments = {max(STALE, round(steps * share)) for share in shares} & set(range(steps))
        self.progress, self.seconds = progress, 0.0
        self.calls: list[tuple] = []
        self.kept: dict = {}
        self.errors: dict[str, dict[int, list[float]]] = {}

    @property
    def sensitivity(self) -> dict[str, list[float]]:
        """The mean error of each module, block by block."""
        return {name: [sum(errors) / len(errors) for _, errors in sorted(blocks.items())] for name, blocks in self.errors.items()}

    @property
    def cost(self) -> dict[str, float]:
        """FLOPs of each module in one block, in one evaluation."""
        costs: defaultdict[str, float] = defaultdict(float)
        for bound, sizes, _ in self.calls:
            for site, stack in bound.stack_of.items():
                tokens = stack.tokens_of(site, sizes)
                costs[site.name] += stack.module_flops(site, sizes.batch, tokens, tokens, sizes)
        return {name: costs[name] for name in self.errors}

    def called(self, call, about, x):
        if self.index == 0:
            self.calls.append(about)
        key = (self.index, self.ordinal, x.shape)
        earlier, record = self.kept.pop((self.index - STALE, *key[1:]), None), None
        if self.index + STALE in self.moments:
            record = self.kept[key] = RecordCall(*about)
        with swapped(record.replacements() if record else ()):
            output = call()
        if earlier is not None:
            self.probe(call, output, earlier.cache, *about)
        return output

    def probe(self, call, output, cache, *about):
        began = time.perf_counter()
        for name, sites, block in probes(about[0]):
            management.throw_exception_if_processing_interrupted()
            with swapped(ProbeCall(about[0], cache, *about[1:], sites, block).replacements()):
                error = relative_error(call(), output)
            self.errors.setdefault(name, defaultdict(list))[block].append(error)
            self.progress()
        self.seconds += time.perf_counter() - began
