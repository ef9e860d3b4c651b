"""Ratios given block by block, for a model of other depth or with other modules than they were made for."""

import numpy as np

from .checks import ConfigError, cut
from .config import KINDS

BESIDE = {"mlp": "parallel_mlp", "parallel_mlp": "mlp"}        # the kind that stands in where a model has none of the one named


def resample(ratios: tuple[float, ...], count: int) -> tuple[float, ...]:
    """Ratios along the depth of a model, for `count` blocks: on the straight lines between them. One stands for all."""
    if len(ratios) in (1, count):
        return ratios
    places = np.linspace(0, len(ratios) - 1, count)
    return tuple(round(float(ratio), 4) for ratio in np.interp(places, np.arange(len(ratios)), ratios))


def adapt(given, depths: dict, known: dict[str, str]) -> tuple[tuple, list[str]]:
    """`ToCaConfig.block_ratios` for the sites of a model -> the same with names and lengths that fit, and what was changed.

    depths    {site: blocks}
    known     {name: kind} of the modules of every supported model

    Raises ConfigError for a name that no model has, and for self-attention, which is never recomputed in part.
    """
    fitting: dict[str, tuple[float, ...]] = {}
    remarks: list[str] = []
    partial = {site: depth for site, depth in depths.items() if site.kind != "self_attn"}
    names = {name for name, _ in given}
    for name, ratios in given:
        kind = name if name in KINDS else known.get(name)
        if kind in (None, "self_attn"):
            modules = ", ".join(site.name for site in partial)
            raise ConfigError(f"block_ratios names {cut(name)}, which this model has not; its modules are {modules}.")
        target = meant_by(name, kind, partial)
        if target is None:
            remarks.append(f"The ratios of {name} were left out, since this model has no such modules")
        elif target != name and target in names | fitting.keys():
            remarks.append(f"The ratios of {name} were left out, since those of {target} count here")
        else:
            if target != name:
                remarks.append(f"The ratios of {name} were taken for {target}")
            lay_out(fitting, target, ratios, partial, names, remarks)
    return tuple(fitting.items()), remarks


def meant_by(name: str, kind: str, sites) -> str | None:
    """A module or a kind of this model that a name stands for: its own, else its kind, else the kind beside that."""
    has = {word for site in sites for word in (site.name, site.kind)}
    return next((word for word in (name, kind, BESIDE.get(kind)) if word in has), None)


def lay_out(fitting: dict, target: str, ratios, sites: dict, names: set, remarks: list[str]):
    """Set the ratios of a module or of a kind, resampled where there are more or fewer of them than blocks."""
    meant = {site: depth for site, depth in sites.items() if target in (site.name, site.kind)}
    if all(len(ratios) in (1, depth) for depth in meant.values()):
        fitting[target] = ratios
        return
    for site, depth in meant.items():
        if site.name == target or site.name not in names:           # a module's own line goes before that of its kind
            fitting[site.name] = resample(ratios, depth)
            remarks.append(f"{site.name}: {len(ratios)} ratios were resampled to {depth} blocks")
