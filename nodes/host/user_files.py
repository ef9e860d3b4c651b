"""Presets that users save and calibrations that were measured: JSON files in the host's user folder, under `toca`."""

import json
import logging
import re
from dataclasses import asdict
from pathlib import Path

import folder_paths

from ...toca_core.config import ConfigError, ToCaConfig

log = logging.getLogger("toca")
NAME = re.compile(r"[\w\- ]{1,80}", re.ASCII)


def folder(kind: str) -> Path:
    return Path(folder_paths.get_user_directory()) / "toca" / kind


def check_name(widget: str, name: str, taken=()) -> str:
    """A preset's name as it is listed. Raises ConfigError on one that cannot be a file's, or that is taken."""
    if not NAME.fullmatch(name):
        raise ConfigError(f"{widget} is {name!r}; a preset's name has up to 80 letters, digits, spaces, dashes and underscores.")
    if name.lower() in taken:
        raise ConfigError(f"{widget} is {name!r}, which is a preset of ToCa Cache already; choose another name.")
    return name


def saved_presets() -> list[str]:
    """The names of all preset files; what they hold shows when one is used."""
    return sorted(path.stem for path in folder("presets").glob("*.json") if NAME.fullmatch(path.stem))


def preset_file(name: str) -> Path:
    return folder("presets") / f"{name}.json"


def save_preset(name: str, config: ToCaConfig):
    write(preset_file(name), asdict(config))


def load_preset(name: str) -> ToCaConfig:
    """Raises ConfigError where there is no such preset, or where its file does not hold settings."""
    path = preset_file(check_name("preset", name))
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        ratios = tuple((module, tuple(values)) for module, values in settings.pop("block_ratios", ()))
        return ToCaConfig(**settings, block_ratios=ratios)
    except FileNotFoundError:
        raise ConfigError(f"preset is {name!r}, of which this machine has no file; choose another, "
                          f"or put {path.name} into {path.parent}.") from None
    except ConfigError as error:
        raise ConfigError(f"Preset {name!r} cannot be used: {error}") from None
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path} does not hold a preset ({error}); delete it, or save the preset again with ToCa Calibrate.") from None


def read(path: Path):
    """What a JSON file holds; None, with a line in the log, where it cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        log.warning("ToCa: %s is passed over, since it cannot be read (%s)", path, error)
        return None


def write(path: Path, content):
    """Whole or not at all: a run that ends meanwhile leaves no half of a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(content, indent=1), encoding="utf-8")
    part.replace(path)
