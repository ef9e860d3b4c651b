"""Words that a node takes of a list: where one comes through a link, the host has not looked whether it is among them."""

from comfy_api.latest import io

from ..toca_core.checks import Choice


def check_choices(node, **given):
    """Raises ConfigError for the first of a node's inputs whose value is none of its options."""
    for entry in node.define_schema().inputs:
        if isinstance(entry, io.Combo.Input) and entry.id in given:
            Choice(entry.options)(entry.id, given[entry.id])
