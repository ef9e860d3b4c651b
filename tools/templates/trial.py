"""One template: rewritten and run with ToCa Cache; where that fails, first without it until the stand-ins fit."""

import copy
import re
from dataclasses import dataclass, field
from typing import Any

from tools.server import Client, PromptRejected, Result
from tools.templates.graph import Graph
from tools.templates.models import NoBuilder, known_classes
from tools.templates.rewrite import END, NothingToSample, Rewriter
from tools.templates.shrink import shrink
from tools.templates.sources import Template

MOST_TRIES = 16         # runs in search of nodes that the stand-ins do not suit
LONGEST = 120.0         # seconds of one run


@dataclass
class Row:
    """What came of one template.

    classes     of the diffusion models behind its samplers, in the order of the samplers
    fits        whether the graph runs to its end without ToCa Cache; where it does not, it is the stand-ins' fault
    accepted    whether every ToCa Cache node took its model; None where none was asked
    steps       of each run with a cache, how many were full, partial and plain
    passed_by   the types of nodes that were left out, because the stand-ins do not suit them, and what they said
    misfit      how the graph ends without ToCa Cache, where it does not run to its end
    """

    template: str
    classes: list[str] = field(default_factory=list)
    builders: list[str] = field(default_factory=list)
    fits: bool | None = None
    accepted: bool | None = None
    levels: list[str] = field(default_factory=list)
    ran: bool | None = None
    steps: list[dict[str, int]] = field(default_factory=list)
    reason: str = ""
    misfit: str = ""
    passed_by: dict[str, str] = field(default_factory=dict)
    replaced: list[str] = field(default_factory=list)
    seconds: float = 0.0


@dataclass
class Attempt:
    """One run. blamed: the node that it ended at; executed: the nodes that were reached."""

    result: Result | None = None
    blamed: str | None = None
    reason: str = ""
    executed: list[str] = field(default_factory=list)


def try_template(template: Template, prompt: dict[str, Any], info: dict[str, Any], client: Client, steps: int) -> Row:
    row = Row(template.name)
    graph = Graph(prompt, info)
    rewriter = Rewriter(graph, known_classes(info))
    try:
        rewriter.rewrite()
    except (NothingToSample, NoBuilder) as error:
        row.reason = str(error)
        return row
    finally:
        row.replaced = sorted(rewriter.replaced)
    shrink(graph, steps)
    row.builders = list(dict.fromkeys(rewriter.builders[cache] for cache in rewriter.cached))
    row.classes = list(dict.fromkeys(rewriter.known[builder] for builder in row.builders))
    done = attempt(client, graph.prompt)
    row.fits = done.blamed is None
    if not row.fits:
        plain = settle(client, rewriter)
        row.fits, row.misfit = plain.blamed is None, plain.reason
        if done.blamed not in rewriter.cached:
            done = attempt(client, graph.prompt)
    row.passed_by = rewriter.passed_by
    tell(row, done, rewriter.cached)
    return row


def settle(client: Client, rewriter: Rewriter) -> Attempt:
    """Run without ToCa Cache; pass by the nodes that fail between the stand-ins and the samplers, and then run again."""
    graph = rewriter.graph
    done = attempt(client, without_cache(graph.prompt))
    for _ in range(MOST_TRIES):
        if done.blamed is None or done.blamed not in graph.prompt:
            break
        suspects = [done.blamed] if may_be_passed_by(rewriter, done.blamed) else conditioners(rewriter)
        if not suspects:
            break
        for node in suspects:
            if node in graph.prompt:
                rewriter.pass_by(node, done.reason)
        done = attempt(client, without_cache(graph.prompt))
    return done


def may_be_passed_by(rewriter: Rewriter, node: str) -> bool:
    kind = rewriter.graph.kind(node)
    return not (kind.startswith(("StandIn", "ToCa")) or rewriter.samples(node) or rewriter.ends(node))


def conditioners(rewriter: Rewriter) -> list[str]:
    """What a sampler's failure may come from: the nodes that add something to a conditioning."""
    graph = rewriter.graph
    return [node for node in graph.prompt if may_be_passed_by(rewriter, node) and "CONDITIONING" in graph.outputs(node)]


def without_cache(prompt: dict[str, Any]) -> dict[str, Any]:
    plain = copy.deepcopy(prompt)
    for node in plain.values():
        if node["class_type"] == "ToCaCache":
            node["inputs"]["enable"] = False
    return plain


def attempt(client: Client, prompt: dict[str, Any]) -> Attempt:
    try:
        result = client.run(prompt, timeout=LONGEST)
    except PromptRejected as error:
        lines = str(error).splitlines()
        named = next(filter(None, (re.match(r"\w.* \(node (.*?)\): ", line) for line in lines)), None)
        return Attempt(blamed=named[1] if named else END, reason="; ".join(lines[:3]))
    except TimeoutError as error:
        return Attempt(blamed=END, reason=str(error))
    executed = [node for event in result.of_type("executing") if (node := event.get("node")) is not None]
    failure = next(iter(result.of_type("execution_error")), None)
    return Attempt(result, failure["node_id"] if failure else None, result.error or "", executed)


def tell(row: Row, cached: Attempt, caches: list[str]) -> None:
    """Enter what a run with ToCa Cache says."""
    refused = cached.blamed in caches
    row.ran = cached.blamed is None
    executed = all(cache in cached.executed for cache in caches)    # or taken from the server's cache, where a run before was the same
    row.accepted = False if refused else row.ran or executed or None
    reports = cached.result.of_type("toca.report") if cached.result else []
    row.levels = list(dict.fromkeys(report["settings"]["level"] for report in reports))
    row.steps = [report["calls"] for report in reports]
    row.seconds = round(cached.result.events[-1].seconds, 2) if cached.result and cached.result.events else 0.0
    row.reason = cached.reason
    if not row.fits and not refused:
        row.reason = f"also without ToCa Cache: {row.misfit}"
