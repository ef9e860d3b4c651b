"""One condition on one model, with all settings: what must hold in each, and how it came out."""

import logging
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from tools.models import failure, snapshot
from tools.pack import pack_module

from .graph import Condition, Graph, LeftOut, guided
from .settings import EXACT, SETTINGS, Setting
from .subjects import Subject
from .watch import Work

SEED, OTHER = 3, 4
FINER = 3                       # by how much steps are refined, once or twice
FALLEN = 2 / 3                  # to what share an error falls that is a cache's
LETTERS = {"full": "f", "partial": "p", "plain": "-", "other": "o"}
UNEVEN = ("dpm_adaptive",)      # samplers that choose their steps by what the model answers


@dataclass
class Cell:
    """
    outcome     "close"; "plain": nothing was skipped, and the report says why; "refused", before sampling and by name; "wrong"; or
                "left out": it makes no sense
    reason      in words
    error       distance from the plain result, as a share of the distance from there to another seed's
    pattern     a letter for each evaluation: f(ull), p(artial), - (plain), o(ther node)
    """
    condition: str
    model: str
    setting: str
    outcome: str
    reason: str = ""
    error: float | None = None
    pattern: str = ""
    note: str = ""


@dataclass
class Run:
    """What one run gave."""
    latent: torch.Tensor
    work: Work
    reports: list[Any] = field(default_factory=list)

    @property
    def steps(self) -> list:
        return [step for report in self.reports for step in report.steps]

    @property
    def note(self) -> str:
        return ". ".join(dict.fromkeys(report.note for report in self.reports if report.note))

    @property
    def pattern(self) -> str:
        return " ".join("".join(LETTERS[step.kind] for step in report.steps) for report in self.reports)


class Row:
    """Raises LeftOut where the condition makes no sense on the model, or fails there without ToCa Cache too.

    quick   the distance to another seed's result is taken from a graph with nothing else in it
    """

    def __init__(self, condition: Condition, subject: Subject, quick: bool = False):
        self.condition, self.subject = condition, subject
        self.graph: Graph = condition.make(subject.graph(), subject)
        self.bare = bare_of(subject)
        try:
            self.plain = self.sample(None)
        except Exception as error:                                  # of any kind: the graph is at fault, not the pack
            raise LeftOut(f"fails without ToCa Cache too: {failure(error)}") from error
        if not self.plain.latent.isfinite().all():
            raise LeftOut("not finite without ToCa Cache either")
        self.scale = max(distance(self.sample(None, OTHER).latent, self.plain.latent) if not quick else spread_of(subject), 1e-9)
        self.marks = snapshot(self.graph.model)

    def sample(self, setting: Setting | None, seed: int = SEED) -> Run:
        work, reports = Work(), []
        plain = self.graph.model if self.graph.reference is None or setting else self.graph.reference
        model = work.before(plain)
        if setting:
            model = setting.install(model, reports)
        clones = model.get_additional_models_with_key("multigpu")
        with work.watching([model, *clones]):
            latent = self.graph.run(model, seed)
        return Run(latent, work, reports)

    def cells(self, settings: list[str], exact: list[str]) -> list[Cell]:
        """One for each setting. What has to be exact counts with the first of them, and so does a plain run after all others."""
        cells = [self.cell(name) for name in settings]
        wrong = [complaint for name in exact if (complaint := self.inexact(name))]
        if exact and not torch.equal(self.sample(None).latent, self.plain.latent):
            wrong.append("the plain run afterwards is another")
        if wrong:
            cells[0].outcome, cells[0].reason = "wrong", "; ".join(filter(None, [cells[0].reason, *wrong]))
        return cells

    def inexact(self, name: str) -> str:
        """What is wrong with a run that has to be exact; "" where nothing is."""
        try:
            run = self.sample(EXACT[name])
        except Exception as error:
            return "" if refusal(error) else f"{name}: {failure(error)}"
        return "" if torch.equal(run.latent, self.plain.latent) else f"{name}: not the plain result bit for bit ({run.note})"

    def cell(self, name: str) -> Cell:
        cell, setting = Cell(self.condition.name, self.subject.name, name, "wrong"), SETTINGS[name]
        try:
            first, second = self.sample(setting), self.sample(setting)
        except Exception as error:
            cell.outcome, cell.reason = ("refused", str(error)) if refusal(error) else ("wrong", failure(error))
            return cell
        cell.pattern, cell.note = first.pattern, first.note
        wrong = [*self.untrue(first), *self.unlike(first, setting)]
        if not torch.equal(first.latent, second.latent) or first.pattern != second.pattern:
            wrong.append("a second run is another")
        if snapshot(self.graph.model) != self.marks:
            wrong.append("something was left on the model")
        cell.error = distance(first.latent, self.plain.latent) / self.scale
        kinds = {step.kind for step in first.steps}
        skipped = "partial" in kinds
        if not skipped and not first.note:
            wrong.append("nothing was skipped, and the report does not say why")
        if kinds <= {"full", "plain"} and not torch.equal(first.latent, self.plain.latent):
            wrong.append("nothing was skipped, and the result is another")
        cell.outcome = "wrong" if wrong else "close" if skipped else "plain"
        cell.reason = "; ".join(wrong) or ("" if skipped else first.note)
        return cell

    def untrue(self, run: Run):
        """What a report says that is not so."""
        counted, steps = len(run.work.numbers), run.steps
        if not run.reports:
            yield "no report"
            return
        if len(steps) != counted or any(step.kind not in LETTERS for step in steps):
            yield f"{len(steps)} steps are told of {counted} evaluations"
        calls = sum(sum(report.model_calls.values()) for report in run.reports)
        if calls != run.work.calls and not any(step.kind == "other" for step in steps):
            yield f"{calls} calls are told of {run.work.calls}"
        if self.graph.sampler in UNEVEN or counted != len(self.plain.work.numbers):
            if self.graph.sampler not in UNEVEN:
                yield f"{counted} evaluations, plainly {len(self.plain.work.numbers)}"
            return
        for index, (step, done, whole) in enumerate(zip(steps, run.work.numbers, self.plain.work.numbers, strict=False)):
            if step.kind in ("full", "plain") and done < whole:
                yield f"step {index} is told to be {step.kind}, and computed {done / whole:.0%}"
                return
            if step.kind == "partial" and done >= whole:
                yield f"step {index} is told to be partial, and computed everything"
                return

    def unlike(self, run: Run, setting: Setting):
        """In what the result is none that a cache may give."""
        if not run.latent.isfinite().all():
            yield "not finite"
            return
        error = distance(run.latent, self.plain.latent) / self.scale
        if not error <= setting.most:
            for again in (1, 2):
                finer = self.finer(setting, FINER ** again)
                if finer <= min(setting.most, FALLEN ** again * error):
                    break
            else:
                how = "in nine times as many steps" if setting.tolerance is None else "at a tolerance nine times as small"
                yield f"error {error:.2f}, and {finer:.2f} {how}; at most {setting.most} may be"
        if self.bare.shape == run.latent.shape and self.condition.kind != "samplers":
            effect = distance(self.bare, self.plain.latent) / self.scale
            if effect > setting.most and distance(self.bare, run.latent) < distance(self.plain.latent, run.latent):
                yield f"nearer to the result without {self.condition.name}"

    def finer(self, setting: Setting, times: int) -> float:
        """The error in more steps, or at a smaller tolerance: that of a cache falls, that of another picture does not.

        What random weights make of new noise cannot be told beforehand, so there a sampler adds the same at every step.
        """
        graph = self.graph
        if setting.tolerance is None:
            graph = steady(replace(graph, steps=times * graph.steps))
        else:
            setting = replace(setting, tolerance=setting.tolerance / times)
        plain, other = (graph.run(graph.model, seed) for seed in (SEED, OTHER))
        return distance(graph.run(setting.install(graph.model, []), SEED), plain) / distance(other, plain)


def steady(graph: Graph) -> Graph:
    """The graph, but the noise that its sampler adds, where it adds some, is the same at every step."""
    import comfy.sample
    import comfy.samplers
    if not pack_module("nodes.host.samplers").is_noisy(comfy.samplers.sampler_object(graph.sampler)):
        return graph

    def sample(graph, model, seed):
        sampler, noise = comfy.samplers.sampler_object(graph.sampler), comfy.sample.prepare_noise(graph.latent, OTHER + seed)
        sampler.extra_options = {**sampler.extra_options, "noise_sampler": lambda *_: noise}
        return guided(graph, model, seed, sampler=sampler)
    return replace(graph, sample=sample)


def bare_of(subject: Subject) -> torch.Tensor:
    """The plain result of a graph with nothing else in it."""
    if "bare" not in subject.known:
        graph = subject.graph()
        subject.known["bare"] = graph.run(graph.model, SEED)
    return subject.known["bare"]


def spread_of(subject: Subject) -> float:
    """The distance between two seeds' results there."""
    if "spread" not in subject.known:
        graph = subject.graph()
        subject.known["spread"] = distance(bare_of(subject), graph.run(graph.model, OTHER))
    return subject.known["spread"]


def distance(one: torch.Tensor, other: torch.Tensor) -> float:
    return (one - other).norm().item()


def refusal(error: BaseException) -> bool:
    """Whether a setting was refused by name, with a remedy (`toca_core.checks.ConfigError`)."""
    return type(error).__name__ == "ConfigError" and ";" in str(error)


def row_of(condition: Condition, subject: Subject, settings: list[str], exact: list[str], quick: bool = False) -> list[Cell]:
    """Its cells, whatever happens."""
    def all_of(outcome: str, reason: str) -> list[Cell]:
        return [Cell(condition.name, subject.name, name, outcome, reason) for name in settings]
    logging.disable(logging.ERROR)                                  # hosts warn of keys and sizes that tiny models lack
    try:
        return Row(condition, subject, quick).cells(settings, exact)
    except LeftOut as error:
        return all_of("left out", str(error))
    except Exception as error:                                      # one row's failure is told, and the others go on
        return all_of("wrong", failure(error))
    finally:
        logging.disable(logging.NOTSET)
