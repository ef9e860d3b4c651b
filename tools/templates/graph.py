"""A prompt as a graph: what feeds a node, what it feeds, and of what type a link is."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

ANY = ("*", "COMFY_MATCHTYPE_V3")       # types that are those of what is plugged in


class Link(NamedTuple):
    """Where an input's value comes from."""

    node: str
    slot: int


class Use(NamedTuple):
    """Where an output's value goes."""

    node: str
    input: str
    slot: int


class Graph:
    """A prompt {node id: {class_type, inputs}} under the host's answer to /object_info. The prompt is changed in place."""

    def __init__(self, prompt: dict[str, dict[str, Any]], info: dict[str, Any]):
        self.prompt, self.info = prompt, info

    def kind(self, node: str) -> str:
        return self.prompt[node]["class_type"]

    def outputs(self, node: str) -> list:
        return self.info[self.kind(node)]["output"]

    def links(self, node: str) -> dict[str, Link]:
        """The linked inputs of a node."""
        return {name: Link(*value) for name, value in self.prompt[node]["inputs"].items() if isinstance(value, list)}

    def specification(self, node: str, name: str) -> list | None:
        """Of an input, as the host gives it; None for one of a number that grows."""
        groups = self.info[self.kind(node)]["input"]
        return next((groups[group][name] for group in ("required", "optional") if name in groups.get(group, {})), None)

    def optional(self, node: str, name: str) -> bool:
        return name not in self.info[self.kind(node)]["input"].get("required", {})

    def type_of(self, link: Link) -> str | None:
        """The type of what a link carries; None where nothing says it."""
        if link.node not in self.prompt:
            return None
        types = self.outputs(link.node)
        found = types[link.slot] if link.slot < len(types) else None
        if found not in ANY:
            return found if isinstance(found, str) else "COMBO"
        inside = (self.type_of(inner) for name, inner in self.links(link.node).items()
                  if (self.specification(link.node, name) or ANY)[0] in ANY)
        return next(filter(None, inside), None)

    def links_of_type(self, node: str, kind: str) -> dict[str, Link]:
        return {name: link for name, link in self.links(node).items() if self.type_of(link) == kind}

    def uses(self, node: str) -> list[Use]:
        return [Use(other, name, link.slot) for other in self.prompt for name, link in self.links(other).items() if link.node == node]

    def upstream(self, starts: Iterable[str], stop: Iterable[str] = ()) -> Iterator[str]:
        """The starts and all that feeds them, the nearest first; what feeds one of `stop`, which is no start, is left out."""
        queue, seen, stop = list(starts), set(starts), set(stop)
        for node in queue:
            yield node
            if node in stop and node not in queue[:1]:
                continue
            fresh = [link.node for link in self.links(node).values() if link.node not in seen and link.node in self.prompt]
            fresh = list(dict.fromkeys(fresh))
            seen.update(fresh)
            queue.extend(fresh)

    def keep_what_feeds(self, node: str) -> None:
        kept = set(self.upstream([node]))
        for other in set(self.prompt) - kept:
            del self.prompt[other]


def samples(node: dict[str, Any]) -> bool:
    """Whether a node of this kind, as /object_info describes it, samples with the model that goes into it."""
    inputs = [spec[0] for group in ("required", "optional") for spec in node["input"].get(group, {}).values()]
    outputs = [kind for kind in node["output"] if isinstance(kind, str)]
    return "MODEL" in inputs and "MODEL" not in outputs and bool({"LATENT", "GUIDER"} & set(outputs))
