"""Telling people what a run did: the log, and an event for whoever watches (the front end, `run.py demo`)."""

import json
import logging
import sys

log = logging.getLogger("toca")


def publish(report, verbose: bool = False):
    """One log line per run, one per step where verbose, and a `toca.report` event to the client that queued the prompt."""
    log.info(report.summary())
    for step in report.steps if verbose else ():
        log.info("ToCa step %d  sigma %.4f  %s  %s", step.index, step.sigma, step.kind, json.dumps(step.fresh_share))
    server = prompt_server()
    if server is not None:
        server.send_sync("toca.report", {"node": server.last_node_id, **report.as_dict()}, server.client_id)


def prompt_server():
    """The host's server, or None where the pack runs without one (tests, scripts)."""
    server = sys.modules.get("server")
    return getattr(server.PromptServer, "instance", None) if server else None
