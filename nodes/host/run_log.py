"""What the latest runs did, kept for the nodes that come after the sampler."""

from dataclasses import dataclass

from ...toca_core.recording import TokenMaps
from ...toca_core.report import RunReport

SAMPLERS, RUNS = 16, 16             # how many of each are kept at most

# Why a node has no run to show. It says so and lets pass what came in: switching the cache off must not stop a prompt.
NO_CACHE = ("There was no cache on this run: the model carries no ToCa Cache. Connect the model that goes into the sampler, after a ToCa "
            "Cache whose enable is on and which is not bypassed.")
NO_RUN = ("No sampling run with this ToCa Cache came before this node, so there was no cache on this run: connect {given} to what comes "
          "out of its sampler; if it is, the sampler's result came from ComfyUI's cache: queue with another seed.")

# What became of a model that was called without a run of its own.
OUTSIDE = ("There was no cache on this run: this model was called outside of its own sampling run, as a second model of a guider: nothing "
           "was cached; put ToCa Cache on the guider's first model as well.")
WITHIN = ("There was no run of its own: this model was called in that of a guider's first model, whose ToCa Cache counted for both. "
          "Connect that model to see what was cached.")


@dataclass(frozen=True)
class RunId:
    """Which run this is: the ids of the ToCa Cache and of the sampler in the prompt, the prompt's, and the number of the sampler's runs
    in it before this one. None where the host says nothing, as in a script."""
    cache: str | None
    sampler: str | None
    prompt: str | None
    run: int

    def as_dict(self) -> dict:
        return {"node": self.sampler, "cache": self.cache, "run": self.run, "prompt": self.prompt}


@dataclass(frozen=True)
class LoggedRun:
    """Numbers and tensors on the CPU only; `maps` is None where no call was on whole pictures."""
    id: RunId
    report: RunReport
    maps: TokenMaps | None


class RunLog:
    """The runs with one ToCa Cache, sampler by sampler: those of the last prompt that each ran in, since the host runs nothing twice."""

    def __init__(self):
        self.runs = {}                                              # sampler -> its runs; the sampler that ran last comes last
        self.calls_outside = {}                                     # sampler -> (prompt, OUTSIDE or WITHIN), likewise

    def begin(self, cache, context) -> RunId:
        """A run begins in a node; context: what the host says of it, with `node_id` and `prompt_id`, or None."""
        sampler, prompt = place(context)
        before = [logged for logged in self.runs.get(sampler, ()) if logged.id.prompt == prompt]
        return RunId(cache, sampler, prompt, before[-1].id.run + 1 if before else 0)

    def outside(self, context, alone: bool) -> str | None:
        """The model is called in a node without a run of its own; alone: nor in one of another ToCa Cache.

        -> what is to be said of it, once in a prompt.
        """
        sampler, prompt = place(context)
        told = prompt is not None and prompt in (other for other, _ in self.calls_outside.values())
        self.calls_outside.pop(sampler, None)
        self.calls_outside[sampler] = prompt, OUTSIDE if alone else WITHIN
        while len(self.calls_outside) > SAMPLERS:
            del self.calls_outside[next(iter(self.calls_outside))]
        return OUTSIDE if alone and not told else None

    def remark(self, node: str, prompt: dict) -> str | None:
        """What is to be said of calls outside of runs whose results reach a node of a prompt."""
        away, newest = distances(node, prompt), next(reversed(self.calls_outside.values()), (None,))[0]
        said = [sentence for sampler, (other, sentence) in self.calls_outside.items()
                if sampler in away or sampler not in prompt and other == newest]
        return said[-1] if said else None

    def add(self, logged: LoggedRun):
        if self.calls_outside.get(logged.id.sampler, (None,))[0] != logged.id.prompt:
            self.calls_outside.pop(logged.id.sampler, None)         # of an older prompt
        earlier = self.runs.pop(logged.id.sampler, ())
        same = [other for other in earlier if other.id.prompt == logged.id.prompt]
        self.runs[logged.id.sampler] = [*same, logged][-RUNS:]
        while len(self.runs) > SAMPLERS:
            del self.runs[next(iter(self.runs))]

    def before(self, node: str, prompt: dict) -> list[LoggedRun]:
        """The runs whose results reach a node of a prompt {id: {"inputs": ...}}, in the order in which they ran."""
        return [logged for sampler in self.samplers(distances(node, prompt), prompt) for logged in self.runs[sampler]]

    def nearest(self, node: str, prompt: dict) -> LoggedRun | None:
        """The last run of the sampler that is the fewest links before a node."""
        away = distances(node, prompt)
        samplers = self.samplers(away, prompt)
        return self.runs[min(reversed(samplers), key=lambda sampler: away.get(sampler, 0))][-1] if samplers else None

    def samplers(self, away: dict[str, int], prompt: dict) -> list:
        """Those before the node, and those that stand in no prompt, because a node made them as it ran: of the newest prompt only."""
        newest = next(reversed(self.runs.values()))[-1].id.prompt if self.runs else None
        return [sampler for sampler, runs in self.runs.items()
                if sampler in away or sampler not in prompt and runs[-1].id.prompt == newest]


def place(context) -> tuple:
    """(sampler, prompt) of what the host says of a node that runs."""
    return (None, None) if context is None else (context.node_id, context.prompt_id)


def why_none(log: RunLog | None, node: str, prompt: dict, given: str) -> str:
    """Why a node of a prompt has no run to show, in a sentence or two; given: its input that is to come from the sampler."""
    if log is None:
        return NO_CACHE
    return log.remark(node, prompt) or NO_RUN.format(given=given)


def name_of(logged: LoggedRun, prompt: dict) -> str:
    """A run as a title: the sampler's kind and id, and which of its runs it was, where it was not the first."""
    sampler = logged.id.sampler
    kind = prompt.get(sampler, {}).get("class_type", "Sampler")
    title = kind if sampler is None else f"{kind}, node {sampler}"
    return f"{title}, run {logged.id.run + 1}" if logged.id.run else title


def distances(node: str, prompt: dict) -> dict[str, int]:
    """How many links lie between a node of a prompt and each of those that it comes after."""
    away, ahead = {node: 0}, [node]
    for current in ahead:
        for value in prompt.get(current, {}).get("inputs", {}).values():
            if isinstance(value, list) and len(value) == 2 and str(value[0]) in prompt and str(value[0]) not in away:
                away[str(value[0])] = away[current] + 1
                ahead.append(str(value[0]))
    return away
