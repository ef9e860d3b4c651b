"""Telling people what a run does: the log, and events for whoever watches (the front end, `run.py demo`)."""

import json
import logging
import sys

from ...toca_core.finite import finite

log = logging.getLogger("toca")


def publish(run_id, report, verbose: bool = False):
    """One log line per run, one per step where verbose, and a `toca.report` event."""
    log.info(report.summary())
    for step in report.steps if verbose else ():
        log.info("ToCa step %d  sigma %.4f  %s  %s", step.index, step.sigma, step.kind, json.dumps(step.fresh_share))
    send("toca.report", {**run_id.as_dict(), **report.as_dict()})


def publish_step(run_id, report, total: int):
    """A `toca.step` event on the step before the one that has just begun: all of it is known without asking the device for anything."""
    step = report.steps[-2]
    send("toca.step", {**run_id.as_dict(), "index": step.index, "total": total, "kind": step.kind, "error": step.error,
                       "flops_speedup": report.flops_speedup, "bytes": report.cache_bytes, "note": report.note,
                       "level": report.settings["level"]})


def publish_outside(sentence: str | None):
    """One log line for a model that was called without a run of its own, where there is something to say."""
    if sentence:
        log.warning("ToCa: %s", sentence)


def send(event: str, data: dict):
    """To the client that queued the prompt, if there is one; a prompt may come from a script that does not listen.

    A number that is not finite goes as null: the host would write it as no browser reads it.
    """
    server = prompt_server()
    if server is not None and server.client_id is not None:
        server.send_sync(event, finite(data), server.client_id)


def prompt_server():
    """The host's server, or None where the pack runs without one (tests, scripts)."""
    server = sys.modules.get("server")
    return getattr(server.PromptServer, "instance", None) if server else None
