"""What a model computes outside its stacks, counted in one call: how often its other layers run follows from no entry."""

from . import flops


class Outside:
    """`replacements` are the forwards to swap in for the length of that call; `flops` is what it took.

    Modules that are called attention are taken to be one, of their tokens among themselves.
    """

    def __init__(self, model, inside):
        """inside: the modules that are counted elsewhere, each with all it holds."""
        counted = {id(module) for owner in inside for module in owner.modules()}
        others = [module for module in model.modules() if id(module) not in counted]
        self.layers = [module for module in others if flops.layer_macs(module)]
        self.attentions = [module for module in others if type(module).__name__.endswith("Attention")]
        self.flops = 0

    def replacements(self):
        for layer in self.layers:
            yield layer, self.counting(layer)
        for attention in self.attentions:
            yield attention, self.attending(attention.forward)

    def counting(self, layer):
        forward, macs = layer.forward, flops.layer_macs(layer)
        given = getattr(layer, "out_features", None) or layer.out_channels

        def run(*args, **kwargs):
            output = forward(*args, **kwargs)
            self.flops += 2 * macs * (output.numel() // given)
            return output
        return run

    def attending(self, forward):
        def run(*args, **kwargs):
            output = forward(*args, **kwargs)
            if getattr(output, "ndim", 0) == 3:                     # (B, N, C)
                self.flops += flops.attention(output.shape[0], output.shape[1], output.shape[1], output.shape[2])
            return output
        return run
