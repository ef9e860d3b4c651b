"""Standing in for the host's attention inside a block, through the options that the block is called with."""


def replaced_attention(options: dict, replacement) -> dict:
    """The host's options, changed so that replacement(run, q, k, v) stands for its attention, which is run(q, k, v)."""
    earlier = options.get("optimized_attention_override")

    def attention(function, q, k, v, *args, **kwargs):
        def run(q, k, v):
            return earlier(function, q, k, v, *args, **kwargs) if earlier else function(q, k, v, *args, **kwargs)

        return replacement(run, q, k, v)

    return {**options, "optimized_attention_override": attention}


def attending_last(args, kwargs, replacement):
    """The arguments of a block that takes the host's options as the last of them."""
    return (*args[:-1], replaced_attention(args[-1], replacement)), kwargs


def attending_named(args, kwargs, replacement):
    """The arguments of a block that takes the host's options by name."""
    return args, {**kwargs, "transformer_options": replaced_attention(kwargs.get("transformer_options", {}), replacement)}


def watch_attention(arguments: dict, seen) -> dict:
    """A block's arguments, changed so that the host's attention calls seen(q, k), (B, heads, N, d), before it runs."""
    def watched(run, q, k, v):
        seen(q, k)
        return run(q, k, v)

    return attending_named((), arguments, watched)[1]
