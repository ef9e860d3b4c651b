"""Prompts before the host checks them. It shows a value that it refuses several times and whole, however long it is."""

import inspect

from comfy_api.latest import io

from ...toca_core.checks import cut, shown

LONGEST = 200                                   # characters of a value that are shown; a file's name with its folders may need some
NUMBERS = {io.Int.Input: int, io.Float.Input: float}


def shortener(kinds):
    """-> a handler for the host's server, which shortens in a prompt what it is going to refuse. kinds: the node classes to look after.

    Refusals stay the host's own, with the input's name and the choices. (A node's `validate_inputs` could say it in other words, but
    the host then marks every input that the function names, not the one that is wrong.)
    """
    known = {kind.define_schema().node_id: kind for kind in kinds}

    def shorten(request):
        prompt = request.get("prompt") if isinstance(request, dict) else None
        for node in prompt.values() if isinstance(prompt, dict) else ():
            kind, inputs = (node.get("class_type"), node.get("inputs")) if isinstance(node, dict) else (None, None)
            if isinstance(kind, str) and kind in known and isinstance(inputs, dict):
                shorten_inputs(known[kind], inputs)
        return request
    return shorten


def shorten_inputs(kind, inputs: dict):
    """Of a node's inputs in a prompt; links, which are lists, are left as they are."""
    values = {name: value.get("__value__", value) if isinstance(value, dict) else value for name, value in inputs.items()}
    short = {name: cut(value, LONGEST) if isinstance(value, str) else shown(value, LONGEST)
             for name, value in values.items() if not isinstance(value, list)}
    long = {name for name, words in short.items() if len(words) > LONGEST}
    checked = inspect.signature(kind.validate_inputs).parameters if long else ()        # what a node checks itself it says in short
    for entry in kind.define_schema().inputs if long else ():
        if entry.id in long and entry.id not in checked and not taken(entry, values[entry.id]):
            inputs[entry.id] = short[entry.id]


def taken(entry, value) -> bool:
    """Whether the host can do something with the value of a widget."""
    if isinstance(entry, io.Combo.Input):
        return value in entry.options
    try:
        NUMBERS.get(type(entry), str)(value)
    except (TypeError, ValueError):
        return False
    return True
