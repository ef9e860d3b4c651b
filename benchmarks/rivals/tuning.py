"""The rivals as variants of the bench, each with the settings that do best on other pictures than the measured ones.

Every method has a list of settings. At each number of calls the one with the highest mean PSNR to the plain run counts, on
`PICTURES` pictures of other seeds; from full runs of the same ones learns what has to be calibrated.
"""

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product

import torch

from tools.pack import load_host

load_host(cpu=not torch.cuda.is_available())
import comfy.sample
import comfy.samplers

from benchmarks import measuring
from benchmarks.rivals import online, planned, seam
from benchmarks.rivals.full_runs import FullRuns, record
from benchmarks.variants import SCHEDULER, Variant, plain
from demo.subjects import Subject
from toca_core import quality

PICTURES, FIRST_SEED, FIRST_LABEL = 8, 1000, 1000                   # of those that settings are chosen on
NEAR = 0.5                          # calls that a setting may take beyond the number it is chosen for

# method -> (its rule, its settings, of which every combination is tried)
ONLINE = {
    "TaylorSeer": (online.TaylorSeer, {"order": (1, 2), "cycle": (2, 3, 4)}),
    "SpeCa": (online.SpeCa, {"order": (1, 2), "longest": (4, 8), "threshold": (0.05, 0.1, 0.15, 0.3), "decay": (1.0,)}),
    "DBCache": (online.DBCache, {"order": (0, 1, 2), "longest": (8,), "threshold": (0.08, 0.11, 0.15, 0.3)}),
    "MagCache": (online.MagCache, {"longest": (3, 5), "threshold": (0.03, 0.05, 0.08, 0.24)}),
    "DiCache": (online.DiCache, {"minus_input": (False, True), "longest": (30,), "threshold": (0.01, 0.02, 0.05, 0.1, 0.15, 0.2)}),
    "Spectrum": (online.Spectrum, {"share": (0.25, 0.5), "window": (2.0,), "growth": (0.0, 0.25, 0.5, 0.75)}),
}
PLANNED = {
    "MeanCache": (planned.MeanCache, {"by_outcome": (False, True), "power": (1.0, 2.0)}),
    "DPCache": (planned.DPCache, {"power": (1.0, 2.0)}),
    "L2P": (planned.L2P, {"keep": (2, 3), "power": (1.0, 2.0)}),
}
METHODS = (*ONLINE, *PLANNED)
CALLS = (8, 10, 12, 15)
AT_MODULES = ("TaylorSeer", "SpeCa")            # their rules want blocks of one stream, whose modules are called one by one


@dataclass(frozen=True)
class Candidate:
    """A method with settings; make: noise levels -> its Rule."""
    method: str
    words: str
    make: Callable


def combined(settings: dict[str, tuple]) -> Iterator[dict]:
    """Every combination."""
    for values in product(*settings.values()):
        yield dict(zip(settings, values, strict=True))


def worded(settings: dict) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in settings.items())


def candidates(runs: FullRuns, methods: Sequence[str], calls: list[int], modular: bool) -> Iterator[Candidate]:
    """These methods with all settings; those that need it calibrated on these runs, for each number of calls."""
    known = {"MagCache": {"ratios": runs.ratios}}
    for method, (rule, settings) in ONLINE.items():
        if method in methods and (modular or method not in AT_MODULES):
            for one in combined(settings):
                yield Candidate(method, worded(one), partial(rule, **known.get(method, {}), **one))
    for method, (rule, settings) in PLANNED.items():
        for one in combined({"calls": tuple(calls), **settings}) if method in methods else ():
            yield Candidate(method, worded(one), partial(rule, **rule.calibrated(runs, **one)))


def other_batches(subject: Subject, pictures: int, size: int) -> list[measuring.Batch]:
    labels = subject.ask(FIRST_LABEL + pictures)[FIRST_LABEL:]
    cut = [labels[start:start + size] for start in range(0, pictures, size)]
    return [measuring.Batch(part, comfy.sample.prepare_noise(subject.empty_latent(len(part)), seed), seed, subject)
            for seed, part in enumerate(cut, FIRST_SEED)]


@dataclass(frozen=True)
class Tried:
    candidate: Candidate
    calls: float
    psnr: float


class Trial:
    """Candidates on other pictures, against the plain run of a sampler."""

    def __init__(self, model, work: measuring.Work, subject: Subject, sampler: str, steps: int, size: int, cfg: float,
                 pictures: int = PICTURES):
        self.model, self.work, self.cfg, self.variant = model, work, cfg, plain(sampler, steps)
        self.batches = other_batches(subject, pictures, size)
        self.whole = [self.run(model, batch) for batch in self.batches]
        self.modular = all(hasattr(stack, "modules") for stack in seam.systems.bound_of(model.model.diffusion_model)[0].stacks)

    def run(self, model, batch: measuring.Batch):
        """-> (pictures, tokens of a picture that went through attention)."""
        self.work.evaluations = self.work.tokens = 0
        pictures, _ = measuring.sample(model, self.variant, batch, self.cfg)
        return pictures, self.work.tokens / len(batch.labels)

    def full_runs(self) -> FullRuns:
        sampling = self.model.get_model_object("model_sampling")
        sigmas = comfy.samplers.calculate_sigmas(sampling, SCHEDULER, self.variant.steps).tolist()
        return record(lambda make, batch: self.run(seam.install(make)(self.model), batch), self.batches, sigmas)

    def tried(self, candidate: Candidate) -> Tried:
        model, decibels, calls = seam.install(candidate.make)(self.model), [], []
        for batch, (plain_pictures, plain_tokens) in zip(self.batches, self.whole, strict=True):
            pictures, tokens = self.run(model, batch)
            decibels += quality.psnr(pictures, plain_pictures).tolist()
            calls.append(self.variant.steps * tokens / plain_tokens)
        return Tried(candidate, statistics.mean(calls), quality.mean_psnr(decibels))


def best(tried: list[Tried], calls: list[int]) -> list[Candidate]:
    """Of one method, at each number of calls the setting with the highest PSNR that takes no more; none twice."""
    found = []
    for count in calls:
        affordable = [one for one in tried if one.calls <= count + NEAR]
        if affordable:
            found.append(max(affordable, key=lambda one: one.psnr).candidate)
    return list(dict.fromkeys(found))


def rivals(trial: Trial, methods: Sequence[str] = METHODS, counts: Sequence[int] = CALLS, progress=iter) -> list[Variant]:
    """The variants to measure, at about so many calls. progress: shows how many of a list's members are done."""
    calls, sampler = [count for count in counts if count < trial.variant.steps], trial.variant.sampler
    tried = [trial.tried(candidate) for candidate in progress(list(candidates(trial.full_runs(), methods, calls, trial.modular)))]
    chosen = [candidate for method in methods for candidate in best([one for one in tried if one.candidate.method == method], calls)]
    return [Variant("rival", one.method, one.words, sampler, trial.variant.steps, seam.install(one.make)) for one in chosen]
