"""Which conditionings a call is for, and what they bring into the model.

What a conditioning brings is told by the tensors that the host keeps for it all along the run, so that nothing has to be read from the
device. Where another node comes between those and the model, what arrives is compared with what arrived before.
"""

import torch

from comfy.conds import is_equal
from comfy.patcher_extension import WrappersMP

from ...toca_core.keep.caches import Conditioning

KEY = "toca"            # of this pack's wrappers, and of the run in the model options
ALIKE = 0.5             # cosine: of a sample and the same a step later 0.8 and more, of two tiles about 0
BETWEEN = (WrappersMP.CALC_COND_BATCH, WrappersMP.APPLY_MODEL)


class Contents:
    """What a call brings for one of its conditionings; equal where all its tensors hold the same numbers."""

    def __init__(self, arguments: dict, batch: int, index: int, conds: int):
        self.values = part_of(arguments, batch, index, conds)

    def __eq__(self, other):
        return isinstance(other, Contents) and is_equal(self.values, other.values)

    def __hash__(self):
        return 0


class Sample:
    """The sample of a call, for one of its conditionings; equal to one that it can have come from in a step.

    Nodes that sample tile by tile ask about one after the other under the same name, and may do so in another order at the next step.
    """

    def __init__(self, x, index: int, conds: int):
        part = x.chunk(conds)[index].float()
        self.values = (part - part.mean(dim=tuple(range(2, part.ndim)), keepdim=True)).flatten()

    def __eq__(self, other):
        if not isinstance(other, Sample) or self.values.shape != other.values.shape:
            return False
        return torch.cosine_similarity(self.values, other.values, dim=0).item() > ALIKE

    def __hash__(self):
        return 0


def part_of(value, batch: int, index: int, conds: int):
    """Of arguments, nested as they are, what is for one of the conditionings."""
    if torch.is_tensor(value):
        return value.chunk(conds)[index] if value.ndim and value.shape[0] == batch else value
    if isinstance(value, dict):
        return {name: part_of(one, batch, index, conds) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [part_of(one, batch, index, conds) for one in value]
    return value


class Inputs:
    """Of one sampling run; travels with it in the model options.

    marks      by what each of its conditionings is known in this evaluation: uuid -> mark
    between    another node has its hands on what goes from them to the model
    noisy      the sampler adds noise at every step, so that a sample need not be like the one before
    """

    def __init__(self, noisy: bool = False):
        self.marks: dict = {}
        self.between, self.noisy = False, noisy

    def begin(self, conds: dict, model_options: dict):
        """An evaluation begins. conds: the guider's, name -> [conditioning]."""
        self.marks = {}
        self.mark(conds.values())
        wrappers = model_options.get("transformer_options", {}).get("wrappers", {})
        self.between = "model_function_wrapper" in model_options or any(set(wrappers.get(kind, ())) - {KEY} for kind in BETWEEN)

    def mark(self, groups):
        """groups: lists of conditionings, or None."""
        self.marks.update({cond["uuid"]: mark_of(cond) for group in groups if group is not None for cond in group if "uuid" in cond})

    def of_call(self, model, x, context, arguments: dict, options: dict) -> tuple[Conditioning, ...]:
        """The conditionings of one call of the host's model (BaseModel) on x (B, C, ...), in the call's order."""
        window, uuids = options.get("context_window"), options.get("uuids") or tuple(options.get("cond_or_uncond", (0,)))
        window = None if window is None else tuple(window.index_list)
        shared = strengths_of(model), control_of(arguments.get("control")), patches_of(options)
        brought = {"context": context, **{name: value for name, value in arguments.items() if name != "control"}}
        count = len(uuids)
        states = ((Contents(brought, x.shape[0], index, count), self.noisy or Sample(x, index, count))
                  if self.between or uuid not in self.marks else self.marks[uuid] for index, uuid in enumerate(uuids))
        return tuple(Conditioning((uuid, window), (state, *shared)) for uuid, state in zip(uuids, states, strict=True))


def mark_of(cond: dict) -> tuple:
    """Changes when another tensor takes the place of one of a conditioning's, or is written into."""
    values = tuple((name, identity(getattr(value, "cond", value))) for name, value in sorted(cond.get("model_conds", {}).items()))
    return values, identity(cond.get("area")), id(cond.get("control")), id(cond.get("gligen"))


def identity(value):
    if torch.is_tensor(value):
        return value.data_ptr(), tuple(value.shape), None if value.is_inference() else value._version
    if isinstance(value, (list, tuple)):
        return tuple(identity(one) for one in value)
    return value if isinstance(value, (int, float, str, type(None))) else id(value)


def strengths_of(model) -> tuple:
    """The hooks that the weights carry at this moment, each with its strength, which keyframes change (`comfy/hooks.py`)."""
    hooks = getattr(getattr(model, "current_patcher", None), "current_hooks", None)
    return () if hooks is None else tuple((id(hook.hook_ref), float(hook.strength)) for hook in hooks.hooks)


def control_of(control) -> tuple:
    """What a ControlNet gives, but for its numbers, which are others at every step."""
    return () if control is None else tuple((name, sum(one is not None for one in given)) for name, given in sorted(control.items()))


def patches_of(options: dict) -> tuple:
    """What other nodes run inside the model."""
    return nested(options.get("patches", {})), nested(options.get("patches_replace", {}))


def nested(value):
    if isinstance(value, dict):
        return tuple((str(name), nested(one)) for name, one in value.items())
    if isinstance(value, (list, tuple)):
        return tuple(nested(one) for one in value)
    return getattr(value, "__code__", None) or type(value)          # a node may make the same function anew at every step
