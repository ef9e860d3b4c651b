"""What is known of the models and runs of each ToCa Cache node, for predicting the next run: plain numbers, of the latest nodes only."""

from collections import OrderedDict
from dataclasses import dataclass

from ...toca_core.costs.account import ModelCosts, Sizes
from ...toca_core.keep.memory import Budget
from ...toca_core.predict import Shape

LIMIT = 64              # nodes


@dataclass(frozen=True)
class LastRun:
    """What a sampling run worked on.

    evaluations    (sigma, position in the sampler's list) of each
    calls          (Sizes, conditionings) of every call of one evaluation
    percents       the noise level at each percent of the sampling process, 0 to 100
    masked         some tokens were computed between full steps
    linear         its sampler's errors could be taken back
    """
    total: int
    evaluations: tuple[tuple[float, float], ...]
    calls: tuple[tuple[Sizes, int], ...]
    itemsize: int
    percents: tuple[float, ...]
    budget: Budget | None
    masked: bool
    linear: bool

    def shape(self, start: float, end: float) -> Shape:
        """For a run like it, partial from start to end, in 0..1."""
        above, below = (self.percents[round(100 * percent)] for percent in (start, end))
        places = tuple((position, below < sigma <= above) for sigma, position in self.evaluations)
        return Shape(self.total, places, self.calls, self.itemsize, self.linear)


@dataclass
class Record:
    """One node: the class of its model, its entry's name, what its parts cost, None where that is not known, and its last run."""
    model: str
    system: str
    costs: ModelCosts | None
    run: LastRun | None = None


class Records:
    """By (workflow, node): the ids of the workflow that a prompt was made from, None where it was not, and of the node in it."""

    def __init__(self):
        self.known: OrderedDict[str, Record] = OrderedDict()

    def loaded(self, node, model: str, system: str, costs: ModelCosts | None):
        """The node has a model; what is known of its runs stays if the model is the same."""
        before = self.known.pop(node, None)
        run = before.run if before is not None and (before.model, figures(before.costs)) == (model, figures(costs)) else None
        self.known[node] = Record(model, system, costs, run)
        while len(self.known) > LIMIT:
            self.known.popitem(last=False)

    def ran(self, node, run, percent_to_sigma):
        """A sampling run (`run.SamplingRun`) of the node's model came to its end."""
        record = self.known.get(node)
        if record is not None and run.calls:
            evaluations = tuple((step.sigma, run.timeline.levels.position(step.sigma)) for step in run.report.steps[::run.config.refine])
            percents = tuple(float(percent_to_sigma(percent / 100)) for percent in range(101))
            steps = run.timeline.levels.total // run.config.refine
            record.run = LastRun(steps, evaluations, tuple(run.calls), run.memory.itemsize, percents, run.memory.budget,
                                 getattr(run.level, "attends", False), run.about.linear)

    def of(self, node) -> Record | None:
        return self.known.get(node)


def figures(costs: ModelCosts | None):
    """What tells a model's costs from another's."""
    return None if costs is None else (costs.depths, costs.outside)


RECORDS = Records()     # of this server
