"""The later outputs of one of the host's linear layers, without computing the earlier ones."""

import torch
import torch.nn.functional as F

import comfy.ops

PLAIN = comfy.ops.disable_weight_init.Linear


def later_outputs(layer, start: int):
    """-> (x (..., in) -> its outputs from `start` on); None where only the layer itself knows what it gives.

    That is so where its weights are quantised, or where something stands in for its forward, as a LoRA that is not merged does. Whatever
    the host does with plain weights, casting, moving and patching them, is left to the host.
    """
    kind = type(layer)
    known = (isinstance(layer, PLAIN) and kind.forward is PLAIN.forward
             and kind.forward_comfy_cast_weights is PLAIN.forward_comfy_cast_weights)
    if not known or "forward" in vars(layer) or layer._forward_hooks or layer._forward_pre_hooks:
        return None

    def outputs(x):
        comfy.ops.run_every_op()
        weight, bias, stream = comfy.ops.cast_bias_weight(layer, x, offloadable=True)
        found = F.linear(x, weight[start:], None if bias is None else bias[start:])
        comfy.ops.uncast_bias_weight(layer, weight, bias, stream)
        return found
    return outputs if type(layer.weight) in (torch.Tensor, torch.nn.Parameter) else None
