"""Telling people what a run does: the log, and events for whoever watches (the front end, `run.py demo`)."""

import json
import logging
import sys
from collections import OrderedDict
from dataclasses import replace

from comfy_execution.utils import get_executing_context

from ...toca_core.finite import finite

log = logging.getLogger("toca")
KEPT = 64                       # runs of which the latest event is kept, for a page that was reloaded meanwhile
LATEST: OrderedDict[tuple, dict] = OrderedDict()        # (client, prompt, cache, sampler, run) -> {type, detail}


def publish(run_id, report, verbose: bool = False):
    """One log line per run, one per step where verbose, and a `toca.report` event."""
    log.info(report.summary())
    for step in report.steps if verbose else ():
        log.info("ToCa step %d  sigma %.4f  %s  %s", step.index, step.sigma, step.kind, json.dumps(step.fresh_share))
    send("toca.report", {**about(run_id), **report.as_dict()})


def publish_step(run_id, report, total: int):
    """A `toca.step` event on the step before the one that has just begun, with the run so far: all of it is known without asking the
    device for anything."""
    done = replace(report, steps=report.steps[:-1])
    step = done.steps[-1]
    send("toca.step", {**about(run_id), "index": step.index, "total": total, "kind": step.kind, "error": step.error,
                       "steps": [{"kind": one.kind, "error": one.error} for one in done.steps],
                       "seconds": sum(one.seconds for one in done.steps), "estimated_seconds_saved": done.seconds_saved,
                       "flops_speedup": report.flops_speedup, "cache_bytes": report.cache_bytes, "note": report.note,
                       "settings": {name: report.settings[name] for name in ("level", "tolerance")}, "preset": report.preset,
                       "why_level": report.why_level})


def about(run_id) -> dict:
    """Which run an event is of: its prompt, the workflow that was queued, by its id, None for a prompt without one, and its nodes."""
    return {**run_id.as_dict(), "workflow": workflow_of(run_id.prompt)}


def workflow_of(prompt: str | None) -> str | None:
    """The id of the workflow that a running prompt was made from."""
    queue = getattr(prompt_server(), "prompt_queue", None)
    for _, running, _, extra, *_ in list(getattr(queue, "currently_running", {}).values()):
        workflow = (extra.get("extra_pnginfo") or {}).get("workflow") if running == prompt else None
        if isinstance(workflow, dict):
            return workflow.get("id")
    return None


def place_of(node: str | None) -> tuple:
    """(workflow, node) of a node that is running."""
    context = get_executing_context()
    return (workflow_of(context.prompt_id) if context else None), node


def publish_outside(sentence: str | None):
    """One log line for a model that was called without a run of its own, where there is something to say."""
    if sentence:
        log.warning("ToCa: %s", sentence)


def send(event: str, data: dict):
    """To the client that queued the prompt, if there is one; a prompt may come from a script that does not listen.

    A number that is not finite goes as null: the host would write it as no browser reads it.
    """
    server = prompt_server()
    if server is None or server.client_id is None:
        return
    data = finite(data)
    server.send_sync(event, data, server.client_id)
    key = (server.client_id, data["prompt"], data["cache"], data["node"], data["run"])
    LATEST.pop(key, None)
    LATEST[key] = {"type": event, "detail": data}
    while len(LATEST) > KEPT:
        LATEST.popitem(last=False)


def latest(client: str) -> list[dict]:
    """The last event {type, detail} of each of a client's latest runs, in the order in which they came."""
    return [event for (other, *_), event in list(LATEST.items()) if other == client]


def prompt_server():
    """The host's server, or None where the pack runs without one (tests, scripts)."""
    server = sys.modules.get("server")
    return getattr(server.PromptServer, "instance", None) if server else None
