"""A template's prompt made self-contained: ToCa Cache before every sampler, stand-ins for what comes from files or services."""

import re
from dataclasses import dataclass, field
from typing import Any

from tools.templates.graph import Graph, Link, Use, samples
from tools.templates.models import builder_of
from tools.templates.shrink import HEIGHT, WIDTH

END = "end"
LITERALS = {"INT": 1, "FLOAT": 1.0, "BOOLEAN": True, "STRING": ""}
PICTURES = {"IMAGE": "StandInImage", "MASK": "StandInMask", "VIDEO": "StandInVideo"}
LOADER = re.compile(r"Load|Record")             # in a node's type, where nothing is plugged into it
ENCODED = {"CLIP", "CLIP_VISION_OUTPUT"}        # what encoders are, and give
ENLARGING = ("FluxKontextImageScale",)          # to sizes of its own
FILES = (".safetensors", ".ckpt", ".pt", ".pth", ".gguf")


class NothingToSample(ValueError):
    """Every sampler is bypassed or muted, or has no model of this machine."""


@dataclass
class Rewriter:
    """
    known       the builders of tiny models there are, and their classes
    cached      the ToCa Cache nodes
    sources     the nodes that stand-ins replace
    passed_by   the types of nodes that stood between and were left out, as what feeds them goes on behind them, and why
    replaced    the types of nodes in whose place stand-ins are
    builders    of each node that feeds a sampler, the tiny model that this sampler has
    sampled     the nodes that load those models; other models, such as detectors, have no stand-in
    """
    graph: Graph
    known: dict[str, str]
    cached: list[str] = field(default_factory=list)
    sources: set[str] = field(default_factory=set)
    passed_by: dict[str, str] = field(default_factory=dict)
    replaced: set[str] = field(default_factory=set)
    builders: dict[str, str] = field(default_factory=dict)
    sampled: set[str] = field(default_factory=set)

    # ---- the plan ----

    def rewrite(self) -> None:
        graph = self.graph
        for node in [node for node, content in graph.prompt.items() if content["class_type"] not in graph.info]:
            self.drop_unknown(node)
        ends = [node for node in graph.prompt if self.ends(node)]
        if not ends:
            raise NothingToSample("its samplers are bypassed or muted")
        links = {f"latent{index}": [node, 0] for index, node in enumerate(ends)}
        graph.prompt[END] = {"class_type": "StandInEnd", "inputs": links}
        graph.keep_what_feeds(END)
        self.assign(ends)
        self.insert_caches()
        self.sources = {node for node in graph.prompt if self.is_source(node)}
        for node in [node for node in graph.prompt if graph.kind(node) in ENLARGING]:
            self.pass_by(node, "it makes pictures large")
        for node in sorted(self.sources):
            if node in graph.prompt:            # or it went with another
                self.replace(node)
        graph.keep_what_feeds(END)

    def samples(self, node: str) -> bool:
        """Whether the model that goes into a node is sampled with."""
        return samples(self.graph.info[self.graph.kind(node)]) and bool(self.graph.links_of_type(node, "MODEL"))

    def ends(self, node: str) -> bool:
        """Whether a node samples itself, with a model or a guider."""
        return "LATENT" in self.graph.outputs(node) and (self.samples(node) or bool(self.graph.links_of_type(node, "GUIDER")))

    def assign(self, ends: list[str]) -> None:
        """Find the tiny model behind every sampler; what feeds several samplers belongs to the one that comes first."""
        before = {end: sum(other in ends for other in self.graph.upstream([end])) for end in ends}
        for end in sorted(ends, key=before.get):
            loaders = {node: files[0] for node in self.feeding_models(end) if (files := self.model_files(node))}
            if not loaders:
                raise NothingToSample("no model file feeds its sampler")
            self.builders.update({node: builder_of(file, self.known) for node, file in loaders.items() if node not in self.builders})
            self.sampled.update(loaders)
            for node in self.graph.upstream([end], stop=set(ends) - {end}):
                self.builders.setdefault(node, self.builders[next(iter(loaders))])

    def feeding_models(self, end: str) -> list[str]:
        """The nodes on the way from the loaders of models to a sampler, the nearest first."""
        found = [end]
        for node in found:
            links = {**self.graph.links_of_type(node, "MODEL"), **self.graph.links_of_type(node, "GUIDER")}
            found.extend(link.node for link in links.values() if link.node not in found)
        return found

    def model_files(self, node: str) -> list[str]:
        """The file that a node loads a diffusion model from, if it does."""
        if "MODEL" not in self.graph.outputs(node) or self.graph.links_of_type(node, "MODEL"):
            return []
        values = self.graph.prompt[node]["inputs"].values()
        return [value for value in values if isinstance(value, str) and value.endswith(FILES)]

    def insert_caches(self) -> None:
        """A ToCa Cache before every sampler that has none on the way to it."""
        for node in [node for node in self.graph.prompt if self.samples(node)]:
            own = [other for other in self.feeding_models(node) if self.graph.kind(other) == "ToCaCache"]
            self.cached.extend(other for other in own if other not in self.cached)
            if own:
                continue
            for name, link in self.graph.links_of_type(node, "MODEL").items():
                cache = f"cache {node} {name}"
                self.graph.prompt[cache] = {"class_type": "ToCaCache", "inputs": {"model": list(link), "preset": "auto"}}
                self.graph.prompt[node]["inputs"][name] = [cache, 0]
                self.builders[cache] = self.builders[node]
                self.cached.append(cache)

    def is_source(self, node: str) -> bool:
        """Whether a stand-in takes a node's place: what reads files, asks services or a text encoder, and where conditionings begin."""
        graph, types = self.graph, set(map(str, self.graph.outputs(node)))
        if graph.kind(node).startswith(("StandIn", "ToCa")):
            return False
        if graph.info[graph.kind(node)].get("api_node") or graph.links_of_type(node, "CLIP") or types & ENCODED:
            return True
        if "CONDITIONING" in types and not (graph.links_of_type(node, "CONDITIONING") or graph.links_of_type(node, "MODEL")):
            return True
        if "MODEL" in types and (not graph.links_of_type(node, "MODEL") or "lora_name" in graph.prompt[node]["inputs"]):
            return True
        return bool(LOADER.search(graph.kind(node))) and not graph.links(node)

    # ---- surgery ----

    def drop_unknown(self, node: str) -> None:
        """A node that this host does not have: nothing says what its outputs are, so what they feed gets a plain value or does without."""
        for use in self.graph.uses(node):
            inputs = self.graph.prompt[use.node]["inputs"]
            del inputs[use.input]
            kind = (self.graph.specification(use.node, use.input) or [None])[0] if self.graph.kind(use.node) in self.graph.info else None
            if isinstance(kind, str) and kind in LITERALS:
                inputs[use.input] = LITERALS[kind]
        self.replaced.add(str(self.graph.prompt.pop(node)["class_type"]))

    def replace(self, node: str) -> None:
        """Put stand-ins where a node's outputs go."""
        graph, kind = self.graph, self.graph.kind(node)
        self.replaced.add(kind)
        lora = "lora_name" in graph.prompt[node]["inputs"] and graph.links_of_type(node, "MODEL")
        for use in graph.uses(node):
            if lora and graph.outputs(node)[use.slot] == "MODEL":
                self.point(use, self.stand_in("StandInLora", node, f"lora {node}", model=list(lora["model"])))
            else:
                self.point(use, self.source(node, use))
        graph.prompt.pop(node, None)

    def pass_by(self, node: str, why: str) -> None:
        """Take a node out: behind it goes on what feeds it, where that is of the same type, and else a stand-in."""
        graph = self.graph
        self.passed_by.setdefault(graph.kind(node), why)
        for use in graph.uses(node):
            same = graph.links_of_type(node, graph.type_of(Link(node, use.slot)))
            named = same.get(use.input) or next(iter(same.values()), None)
            self.point(use, list(named) if named else self.source(node, use))
        graph.prompt.pop(node, None)
        graph.keep_what_feeds(END)

    def point(self, use: Use, value: Any) -> None:
        """Feed an input with this; without a value it goes, and so does a node that cannot do without it."""
        graph = self.graph
        if use.node not in graph.prompt:
            return
        if value is not None:
            graph.prompt[use.node]["inputs"][use.input] = value
            return
        needed = not graph.optional(use.node, use.input)
        del graph.prompt[use.node]["inputs"][use.input]
        if needed and use.node not in self.sources:
            self.pass_by(use.node, f"nothing stands in for its {use.input}")

    def source(self, node: str, use: Use) -> Any:
        """A stand-in for one output of a node: a link or a value; None where there is none for its type."""
        kind, builder = self.graph.type_of(Link(node, use.slot)), self.builders.get(use.node) or self.builders.get(node)
        if kind in LITERALS:
            return LITERALS[kind]
        if kind in PICTURES:
            return self.stand_in(PICTURES[kind], node, kind, width=WIDTH, height=HEIGHT)
        if kind == "VAE":
            audio = "Audio" in self.graph.kind(node)
            return self.stand_in("StandInVAE", node, f"{kind} {builder} {audio}", builder=builder, audio=audio)
        if kind == "CONDITIONING":
            negative, reference = self.is_negative(node, use), bool(self.graph.links_of_type(node, "IMAGE"))
            name = f"{kind} {builder} {negative} {reference}"
            return self.stand_in("StandInConditioning", node, name, builder=builder, negative=negative, reference=reference)
        if kind == "LATENT":
            return self.stand_in("StandInLatent", node, f"{kind} {builder}", builder=builder)
        if kind == "MODEL" and node in self.sampled:
            file = self.model_files(node)[0]
            return self.stand_in("StandInModel", node, f"{kind} {file}", builder=self.builders[node], file=file)
        if kind == "CLIP_VISION_OUTPUT":
            return self.stand_in("StandInClipVisionOutput", node, f"{kind} {builder}", builder=builder)
        if kind == "AUDIO":
            return self.stand_in("StandInAudio", node, kind)
        return None

    def stand_in(self, kind: str, node: str, name: str, **inputs) -> list:
        """A link to a stand-in, which is shared by all that ask for the same one."""
        name = f"stand-in {name}"
        self.graph.prompt[name] = {"class_type": kind, "inputs": inputs}
        if node in self.builders:
            self.builders.setdefault(name, self.builders[node])
        return [name, 0]

    def is_negative(self, node: str, use: Use) -> bool:
        """Whether a conditioning goes to the negative side, by the first input on its way that tells."""
        queue, seen = [use], {node}
        for step in queue:
            if "neg" in step.input or "pos" in step.input:
                return "neg" in step.input
            if step.node in self.graph.prompt and step.node not in seen:
                seen.add(step.node)
                queue.extend(later for later in self.graph.uses(step.node)
                             if self.graph.type_of(Link(step.node, later.slot)) == "CONDITIONING")
        return False
