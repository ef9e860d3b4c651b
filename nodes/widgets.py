"""Widgets of ToCa Cache, by the settings of the core that they are for."""

from comfy_api.latest import io

from ..toca_core.checks import Choice, Number
from ..toca_core.config import SETTINGS


def widget(name: str, tooltip: str, **changes):
    """The widget of a setting: its default, its range and whether it is advanced as the core has them. changes: what differs here."""
    told = SETTINGS[name].metadata
    given = {"default": SETTINGS[name].default, **told["widget"], "optional": True, "tooltip": tooltip}
    if told["advanced"]:
        given["advanced"] = True
    match told["domain"]:
        case Choice(options):
            return io.Combo.Input(name, **{"options": list(options), **given, **changes})
        case Number(low, high, whole):
            kind, number = (io.Int, int) if whole else (io.Float, float)
            return kind.Input(name, **{"min": number(low), "max": number(high), **given, **changes})
    raise TypeError(f"{name} is neither a choice nor a number, so its node has to say what its widget is.")
