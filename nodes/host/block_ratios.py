"""The text of block ratios: ToCa Cache's `block_ratios` and what ToCa Ratios holds."""

from ...toca_core.checks import ConfigError, cut, shown

EXAMPLE = "`mlp: 0.4, 0.3, 0.2`"


def parse_block_ratios(text: str, name: str = "block_ratios") -> tuple[tuple[str, tuple[float, ...]], ...]:
    """"mlp: 0.4, 0.3\\ndouble.img_mlp: 0.2" -> (("mlp", (0.4, 0.3)), ("double.img_mlp", (0.2,))).

    A line without a module's name is the MLP's; one number stands for all blocks. Raises ConfigError, by the name of the input, on
    anything else.
    """
    if text is not None and not isinstance(text, str):
        raise ConfigError(f"{name} is {shown(text)}; write lines such as {EXAMPLE}.")
    ratios = {}
    for line in filter(None, map(str.strip, (text or "").splitlines())):
        module, _, numbers = line.rpartition(":")
        module = module.strip() or "mlp"
        if module in ratios:
            raise ConfigError(f"{name} gives {cut(module)} twice; keep one line of it.")
        ratios[module] = tuple(parse_ratio(word, name) for word in numbers.replace(",", " ").split())
    return tuple(ratios.items())


def parse_ratio(word: str, name: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise ConfigError(f"{name} contains {shown(word)}, which is no number; write lines such as {EXAMPLE}.") from None
