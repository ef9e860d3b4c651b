"""The text of the `block_ratios` input."""

from ...toca_core.config import ConfigError


def parse_block_ratios(text: str) -> tuple[tuple[str, tuple[float, ...]], ...]:
    """"mlp: 0.4, 0.3\\ndouble.img_mlp: 0.2" -> (("mlp", (0.4, 0.3)), ("double.img_mlp", (0.2,))).

    A line without a module's name is the MLP's; one number stands for all blocks. Raises ConfigError on anything else.
    """
    ratios = {}
    for line in filter(None, map(str.strip, (text or "").splitlines())):
        module, _, numbers = line.rpartition(":")
        module = module.strip() or "mlp"
        if module in ratios:
            raise ConfigError(f"block_ratios gives {module} twice; keep one line of it.")
        ratios[module] = tuple(parse_ratio(word) for word in numbers.replace(",", " ").split())
    return tuple(ratios.items())


def parse_ratio(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise ConfigError(f"block_ratios contains {word!r}, which is no number; write lines such as `mlp: 0.4, 0.3, 0.2`.") from None
