"""Turns a workflow as the front end saves it into the prompt that the server runs."""

from collections.abc import Iterator
from typing import Any, NamedTuple

MUTED, BYPASSED = 2, 4
REMARKS = ("Note", "MarkdownNote")
WIDGET_TYPES = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "COLOR", "CURVE", "RANGE", "BOUNDING_BOX", "COMFY_DYNAMICCOMBO_V3"}
AFTER_GENERATE = {"fixed", "increment", "decrement", "randomize", "increment-wrap"}


class WorkflowError(ValueError):
    """The workflow cannot be turned into a prompt; the message names the node."""


class Link(NamedTuple):
    """Where a link comes from."""

    node: Any  # id
    slot: int


def to_prompt(workflow: dict[str, Any], object_info: dict[str, Any]) -> dict[str, Any]:
    """The API prompt of a workflow JSON (version 0.4 or 1.0): {node id: {class_type, inputs}}.

    object_info: the host's answer to /object_info. Raises WorkflowError for unknown nodes and for subgraphs.
    """
    refuse_subgraphs(workflow)
    nodes = {node["id"]: node for node in workflow["nodes"]}
    links = dict(map(read_link, workflow.get("links") or ()))
    prompt = {}
    for node in nodes.values():
        if node.get("mode", 0) in (MUTED, BYPASSED) or node["type"] in (*REMARKS, "Reroute", "PrimitiveNode"):
            continue
        if node["type"] not in object_info:
            raise WorkflowError(f"Node {node['id']} is a '{node['type']}', which this host does not have.")
        inputs = widget_inputs(node, object_info[node["type"]]) | linked_inputs(node, nodes, links)
        prompt[str(node["id"])] = {"class_type": node["type"], "inputs": inputs}
    return prompt


def refuse_subgraphs(workflow: dict[str, Any]) -> None:
    subgraphs = {graph["id"]: graph for graph in (workflow.get("definitions") or {}).get("subgraphs") or ()}
    for node in workflow["nodes"]:
        if node["type"] in subgraphs:
            name = subgraphs[node["type"]].get("name", "")
            raise WorkflowError(f"Node {node['id']} is the subgraph '{name}', which cannot be read: unpack it in the editor and save it.")


def read_link(link: list | dict[str, Any]) -> tuple[Any, Link]:
    """(id, origin) of a link: a list in version 0.4, an object in version 1.0."""
    if isinstance(link, dict):
        return link["id"], Link(link["origin_id"], link["origin_slot"])
    return link[0], Link(link[1], link[2])


# ---- widgets ----


def widget_inputs(node: dict[str, Any], info: dict[str, Any]) -> dict[str, Any]:
    """The values of a node's widgets, by input name."""
    values = node.get("widgets_values") or []
    if isinstance(values, dict):  # a few packs save them by name
        names = {name for name, _ in all_inputs(info["input"])}
        return {name: wrapped(value) for name, value in values.items() if name in names}
    shown = {entry["widget"]["name"] for entry in node.get("inputs") or () if entry.get("widget")}
    return dict(assign(ordered_inputs(info), list(values), shown))


def assign(inputs: list[tuple[str, list]], values: list, shown: set[str]) -> Iterator[tuple[str, Any]]:
    """Deal the saved values out to the inputs that have a widget, in order; `values` is used up as it goes.

    An input that is newer than the workflow gets its default, as in the front end.
    """
    for name, spec in inputs:
        if not is_widget(name, spec, shown):
            continue
        value = values.pop(0) if values else default(spec)
        if value is not None:
            yield name, wrapped(value)
        if has_after_generate(name, spec) and values and values[0] in AFTER_GENERATE:
            values.pop(0)
        if spec[0] == "COMFY_DYNAMICCOMBO_V3":
            chosen = next((option["inputs"] for option in spec[1]["options"] if option["key"] == value), {})
            yield from assign([(f"{name}.{inner}", s) for inner, s in all_inputs(chosen)], values, shown)


def ordered_inputs(info: dict[str, Any]) -> list[tuple[str, list]]:
    """(name, specification) of every input as the front end shows them: required ones, then optional ones."""
    order = info.get("input_order") or {}
    specs = info["input"]
    return [(name, specs[group][name]) for group in ("required", "optional") for name in order.get(group, specs.get(group) or ())]


def all_inputs(groups: dict[str, dict[str, list]]) -> list[tuple[str, list]]:
    return [item for group in ("required", "optional") for item in (groups.get(group) or {}).items()]


def is_widget(name: str, spec: list, shown: set[str]) -> bool:
    """Whether an input has a widget; `shown` are the names for which the node itself says so, as types of other packs may."""
    if options(spec).get("forceInput"):
        return False
    return isinstance(spec[0], list) or spec[0] in WIDGET_TYPES or name in shown


def has_after_generate(name: str, spec: list) -> bool:
    """Whether the front end saves the choice of what to do after a run (fixed, randomize ...) behind this value."""
    return bool(options(spec).get("control_after_generate")) or (spec[0] == "INT" and name in ("seed", "noise_seed"))


def default(spec: list) -> Any:
    """An input's default value: for a choice without one, its first option; None where there is none."""
    choices = spec[0] if isinstance(spec[0], list) else options(spec).get("options") or []
    first = next(iter(choices), None)
    return options(spec).get("default", first["key"] if isinstance(first, dict) else first)


def options(spec: list) -> dict[str, Any]:
    return spec[1] if len(spec) > 1 else {}


def wrapped(value: Any) -> Any:
    """A list would be taken for a link."""
    return {"__value__": value} if isinstance(value, list) else value


# ---- links ----


def linked_inputs(node: dict[str, Any], nodes: dict[Any, dict], links: dict[Any, Link]) -> dict[str, Any]:
    """The inputs of a node that another node feeds: [node id, output slot], or a primitive's value."""
    inputs = {}
    for entry in node.get("inputs") or ():
        origin = real_origin(links.get(entry.get("link")), nodes, links)
        if origin is None:
            continue
        source = nodes[origin.node]
        if source["type"] == "PrimitiveNode":
            inputs[entry["name"]] = wrapped(source["widgets_values"][0])
        else:
            inputs[entry["name"]] = [str(origin.node), origin.slot]
    return inputs


def real_origin(link: Link | None, nodes: dict[Any, dict], links: dict[Any, Link]) -> Link | None:
    """Follow a link through reroutes and bypassed nodes to the node that will run; None where it ends nowhere."""
    while link is not None:
        node = nodes[link.node]
        if node.get("mode", 0) == MUTED:
            return None
        if node["type"] == "Reroute":
            entry = node["inputs"][0]
        elif node.get("mode", 0) == BYPASSED:
            entry = bypass(node, link.slot)
        else:
            return link
        link = links.get(entry.get("link")) if entry else None
    return None


def bypass(node: dict[str, Any], slot: int) -> dict[str, Any] | None:
    """The input that stands in for an output of a bypassed node, chosen as the front end does.

    The one in the same place if its type fits, else the first of the same type, else the first that fits.
    """
    inputs, wanted = node.get("inputs") or [], types(node["outputs"][slot])
    fitting = [entry for entry in inputs if types(entry) & wanted or "*" in types(entry) | wanted]
    candidates = [entry for entry in inputs[slot : slot + 1] if entry in fitting]
    candidates += [entry for entry in fitting if types(entry) == wanted] + fitting
    return next(iter(candidates), None)


def types(slot: dict[str, Any]) -> set[str]:
    """The types a slot takes; several are written with commas between them."""
    return set(str(slot["type"]).upper().split(","))
