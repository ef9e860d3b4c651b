"""Counting floating-point operations from shapes (a multiply-add is 2), with no tensor touched.

Checked in the tests against `torch.utils.flop_counter` on the real models.
"""

import math

from torch import nn


def macs(module: nn.Module) -> int:
    """Multiply-adds per token of all linear and convolution layers inside a module; of experts those that a token goes through."""
    own, active = layer_macs(module), getattr(module, "num_activated_experts", None)
    for name, child in module.named_children():
        found = macs(child)
        own += found * active // len(child) if name == "experts" and isinstance(active, int) and isinstance(child, nn.ModuleList) else found
    return own


def layer_macs(layer: nn.Module) -> int:
    """By what a layer is, not by its class: those of quantised weights are of other classes."""
    inputs, outputs = (getattr(layer, name, None) for name in ("in_features", "out_features"))
    if isinstance(inputs, int) and isinstance(outputs, int) and next(layer.children(), None) is None:
        return inputs * outputs
    if isinstance(layer, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
        return layer.in_channels // layer.groups * layer.out_channels * math.prod(layer.kernel_size)
    return 0


def width_of(module: nn.Module) -> int:
    """How many numbers the first linear layer inside a module takes."""
    widths = (getattr(layer, "in_features", None) for layer in module.modules())
    return next((width for width in widths if isinstance(width, int)), 0)


def attention(batch: int, queries: int, keys: int, width: int) -> int:
    """QK^T and the weighted sum of V, over all heads of total width `width`."""
    return 4 * batch * queries * keys * width


def attention_map(batch: int, queries: int, keys: int, width: int) -> int:
    """QK^T once more, for the scores."""
    return 2 * batch * queries * keys * width
