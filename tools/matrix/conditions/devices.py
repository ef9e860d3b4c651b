"""Several devices: the conditionings of a step are shared out between copies of the model, each in a thread of its own."""

import torch

from tools.matrix.graph import LeftOut, before, condition


def on_two_devices(subject):
    """As MultiGPU CFG Split makes them; the second device is the first by another name."""
    try:
        from comfy.multigpu import GPUOptionsGroup
    except ImportError as error:
        raise LeftOut("not in this version of the host") from error

    def node(model):
        model = model.clone()
        copy = subject.make()
        copy.load_device = torch.device("cpu", 0)
        copy.is_multigpu_base_clone = True
        copy.clone_base_uuid = model.clone_base_uuid
        model.set_additional_models("multigpu", [copy])
        model.match_multigpu_clones()
        GPUOptionsGroup().register(model)
        return model
    return node


@condition("two devices")
def two_devices(graph, subject):
    return before(graph, on_two_devices(subject))
