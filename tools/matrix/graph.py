"""A graph as users build it, but for ToCa Cache: which model goes into it, which nodes follow it, and how it is sampled."""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

import comfy.sample

CONDITIONS: dict[str, "Condition"] = {}         # in the order in which they are listed


class LeftOut(Exception):
    """The condition makes no sense on this model; the message says why."""


@dataclass(frozen=True)
class Graph:
    """
    model       the MODEL that ToCa Cache takes
    after       (MODEL) -> MODEL, the nodes between ToCa Cache and the sampler
    reference   the MODEL of the plain run where it is not `model`: of a node that ToCa Cache puts out of action
    sample      (graph, MODEL, seed) -> latent (B, C, ...)
    guide       (MODEL, positive, negative, cfg) -> the guider of a custom sampler
    """
    model: Any
    positive: list
    negative: list
    latent: torch.Tensor
    mask: torch.Tensor | None = None
    steps: int = 8
    cfg: float = 3.0
    sampler: str = "euler"
    scheduler: str = "simple"
    denoise: float = 1.0
    after: Callable[[Any], Any] = lambda model: model
    reference: Any = None
    sample: Callable[["Graph", Any, int], torch.Tensor] = lambda graph, model, seed: sampled(graph, model, seed)
    guide: Callable[..., Any] | None = None

    def run(self, model, seed: int) -> torch.Tensor:
        """With `after` behind the model."""
        with torch.inference_mode():
            return self.sample(self, self.after(model), seed).clone()


@dataclass(frozen=True)
class Condition:
    """
    kind    the file that it stands in
    make    (graph with nothing else in it, subject) -> graph; raises LeftOut
    slow    takes minutes, so it is tried only where it is asked for
    """
    name: str
    kind: str
    make: Callable[[Graph, Any], Graph]
    slow: bool = False


def condition(name: str, slow: bool = False):
    """Enters a function (graph, subject) -> Graph by its name."""
    def enter(make):
        if name in CONDITIONS:
            raise ValueError(f"Two conditions are called {name}.")
        CONDITIONS[name] = Condition(name, make.__module__.rpartition(".")[2], make, slow)
        return make
    return enter


def conditions() -> dict[str, Condition]:
    """All of them; the host's modules are imported."""
    from . import conditions as folder
    for file in pkgutil.iter_modules(folder.__path__):
        importlib.import_module(f"{folder.__name__}.{file.name}")
    return dict(CONDITIONS)


# ---- ways to sample ----


def sampled(graph: Graph, model, seed: int, **options) -> torch.Tensor:
    """As KSampler does."""
    noise = comfy.sample.prepare_noise(graph.latent, seed)
    options = {"noise_mask": graph.mask, "denoise": graph.denoise, **options}
    return comfy.sample.sample(model, noise, graph.steps, graph.cfg, graph.sampler, graph.scheduler, graph.positive, graph.negative,
                               graph.latent, seed=seed, disable_pbar=True, **options)


def guided(graph: Graph, model, seed: int, sigmas=None, sampler=None, latent=None, noise=None) -> torch.Tensor:
    """As SamplerCustomAdvanced does, with the graph's guider."""
    import comfy.samplers
    guide = graph.guide or cfg_guider
    guider = guide(model, graph.positive, graph.negative, graph.cfg)
    latent = graph.latent if latent is None else latent
    latent = comfy.sample.fix_empty_latent_channels(model, latent)
    noise = comfy.sample.prepare_noise(latent, seed) if noise is None else noise
    sigmas = sigmas_of(graph, model) if sigmas is None else sigmas
    sampler = sampler or comfy.samplers.sampler_object(graph.sampler)
    return guider.sample(noise, latent, sampler, sigmas, denoise_mask=graph.mask, disable_pbar=True, seed=seed)


def cfg_guider(model, positive, negative, cfg):
    import comfy.samplers
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(positive, negative)
    guider.set_cfg(cfg)
    return guider


def sigmas_of(graph: Graph, model) -> torch.Tensor:
    import comfy.samplers
    return comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), graph.scheduler, graph.steps)


def before(graph: Graph, node: Callable[[Any], Any]) -> Graph:
    """With a node before ToCa Cache."""
    return replace(graph, model=node(graph.model))


def behind(graph: Graph, node: Callable[[Any], Any]) -> Graph:
    """With a node after ToCa Cache."""
    return replace(graph, after=node)


def output(answer):
    """What a node gives first, in either of the host's two ways to write nodes."""
    return answer.args[0] if hasattr(answer, "args") else answer[0]
