"""ToCa Cache on the models of Raylight's workers: Ray actors that each hold a model and compute a part of the same sample.

Raylight's workers keep what is done to their model, whichever node of the graph did it. So a cache is put on just before a worker samples
and taken off after it: a graph without the node is a graph without the cache.
"""

import os
from pathlib import Path

import folder_paths

from ...toca_core.together import Alone, Together
from .publish import log
from .seam import Seam, loosen
from .settings import read

PACK = Path(__file__).resolve().parents[2]
FOLDER = "raylight"             # in the name of its folder among the custom nodes
SAMPLER = "sampler"             # in the names of a worker's methods that sample
SHARED = ("is_xdit", "is_fsdp")         # of a worker's settings: several hold one model, or compute one sample
PIPES = "pipefusion_enabled"
PIPED = ("ToCa Cache (Raylight) does nothing: PipeFusion goes on from one step to the next by what the blocks of the last one gave, which "
         "a skipped step does not have. Use another of Raylight's ways to share out the work.")


def installed() -> bool:
    """Whether Raylight is among the custom nodes; they load in no order that could be relied on."""
    return any(FOLDER in name.lower() for folder in folder_paths.get_folder_paths("custom_nodes") if os.path.isdir(folder)
               for name in os.listdir(folder))


def cached(ray_actors: dict, widgets: dict) -> dict:
    """The same workers, which cache while they sample. widgets: of ToCa Cache, as `settings.read` takes them.

    Raises ValueError where a worker, on another machine, has not this pack.
    """
    import ray
    workers = ray_actors["workers"]
    asked = ray.get(workers[0].get_parallel_dict.remote())
    if asked.get(PIPES):
        log.warning(PIPED)
        return ray_actors
    try:
        ray.get([worker.model_function_runner_get_values.remote(by_path("ready")) for worker in workers])
    except ray.exceptions.RayTaskError as error:
        raise ValueError(f"A worker of Raylight cannot load ToCa from {PACK}: every machine needs this pack in the same folder. "
                         f"It says: {error.cause}") from error
    together = any(asked.get(name) for name in SHARED)
    return {**ray_actors, "workers": [CachedWorker(worker, widgets, together, told=index == 0) for index, worker in enumerate(workers)]}


class CachedWorker:
    """A Ray actor handle; what samples is called between putting a cache on the actor's model and taking it off. An actor runs what it is
    asked for in that order, after a failure too."""

    def __init__(self, worker, widgets: dict, together: bool, told: bool):
        self.worker, self.given = worker, (widgets, together, told)

    def __getattr__(self, name: str):
        method = getattr(self.worker, name)
        return Sampling(method, self.worker, self.given) if SAMPLER in name else method


class Sampling:
    """A method of an actor."""

    def __init__(self, method, worker, given: tuple):
        self.method, self.worker, self.given = method, worker, given

    def remote(self, *args, **kwargs):
        self.worker.model_function_runner.remote(by_path("put_on"), *self.given)
        answer = self.method.remote(*args, **kwargs)
        self.worker.model_function_runner.remote(by_path("take_off"))
        return answer


def by_path(name: str):
    """A function of this module that another process can run, which does not know the pack by a name."""
    folder = str(PACK)

    def run(model, *args):
        import importlib
        import importlib.util
        import sys
        pack = "toca_pack_of_a_worker"
        if pack not in sys.modules:
            spec = importlib.util.spec_from_file_location(pack, f"{folder}/__init__.py", submodule_search_locations=[folder])
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            sys.modules[pack] = module
        return getattr(importlib.import_module(f"{pack}.nodes.host.raylight"), name)(model, *args)
    return run


# ---- in a worker ----


def ready(model) -> bool:
    return True


def put_on(model, widgets: dict, together: bool, told: bool):
    """A cache onto a worker's MODEL, which is nobody else's. together: other workers compute the same sample; told: this one tells of its
    runs, by its output, which Ray shows."""
    def tell(report):
        if told:
            print(report.summary(), flush=True)
    loosen(model)
    Seam(read(None, **widgets), tell, together=Together if together else Alone).fasten(model)
    return model


def take_off(model):
    loosen(model)
    return model
