"""Presets that users save and calibrations that were measured: JSON files in the host's user folder, under `toca`."""

import json
import logging
import os
import re
import unicodedata
from dataclasses import asdict, fields
from pathlib import Path

import folder_paths

from ...toca_core.checks import ConfigError, cut, is_line, shown
from ...toca_core.config import ToCaConfig
from .. import strict_json

log = logging.getLogger("toca")
VERSION = 1                                                         # of preset files; earlier ones say none
LARGEST = 1_000_000                                                 # bytes of a file
LONGEST_NAME, LONGEST_NAME_BYTES = 80, 240                          # a file's whole name has 255 bytes
RESERVED = re.compile(r"con|prn|aux|nul|(com|lpt)[0-9¹²³]")         # names that Windows keeps for devices, whatever their ending
PLAIN = ToCaConfig(max_gap=0)                                       # what a preset file does not say
WRITTEN = {"fresh_ratio", "score", "block_ratios", "max_gap"}       # by all of which a file without a version is not one of a hand


def folder(kind: str) -> Path:
    return Path(folder_paths.get_user_directory()) / "toca" / kind


# ---- names ----


def is_name(name) -> bool:
    """Whether something may name a preset: letters and digits of any script, spaces, dashes and underscores."""
    return (isinstance(name, str) and 0 < len(name) <= LONGEST_NAME
            and all(letter in " -_" or unicodedata.category(letter)[0] in "LMN" for letter in name)
            and len(name.encode()) <= LONGEST_NAME_BYTES)


def check_name(widget: str, name: str, taken=()) -> str:
    """A new preset's name as its file has it. Raises ConfigError on one that cannot be a file's on every system, or that is taken."""
    name = composed(name)
    if not is_name(name) or name != name.strip():
        raise ConfigError(f"{widget} is {shown(name)}; a preset's name has up to {LONGEST_NAME} letters, digits, spaces, dashes and "
                          f"underscores ({LONGEST_NAME_BYTES} bytes), and no space at its ends.")
    if RESERVED.fullmatch(name.casefold()):
        raise ConfigError(f"{widget} is {shown(name)}, a name that Windows keeps for a device; choose another name.")
    if name.casefold() in taken:
        raise ConfigError(f"{widget} is {shown(name)}, which is a preset of ToCa Cache already; choose another name.")
    return name


def composed(name):
    """One of the ways in which Unicode writes the same letters."""
    return unicodedata.normalize("NFC", name) if isinstance(name, str) else name


# ---- presets ----


def preset_files() -> dict[str, Path]:
    """name -> file; what it holds shows when it is used."""
    try:
        found = sorted(folder("presets").glob("*.json"))            # of two with the same letters the composed one comes last
    except OSError:
        return {}
    return {composed(path.stem): path for path in found if is_name(composed(path.stem))}


def saved_presets() -> list[str]:
    return sorted(preset_files())


def preset_file(name: str) -> Path:
    return preset_files().get(composed(name)) or folder("presets") / f"{name}.json"


def save_preset(name: str, config: ToCaConfig):
    """Raises ConfigError where it cannot be written."""
    path = preset_file(name)
    try:
        write(path, settings_of_preset(config))
    except OSError as error:
        raise ConfigError(f"Preset {shown(name)} cannot be saved, since {path} cannot be written ({error.strerror}); make room or give "
                          f"access there, or leave save_as empty.") from None


def load_preset(name: str) -> ToCaConfig:
    """Raises ConfigError where there is no such preset, or where its file does not hold settings.

    Its max_gap is 0, by the number of steps, where the file says nothing of it.
    """
    if not is_name(composed(name)):
        raise ConfigError(f"preset is {shown(name)}, which cannot be a preset's name; choose another.")
    path = preset_file(name)
    try:
        return config_of(read_json(path))
    except FileNotFoundError:
        raise ConfigError(f"preset is {shown(name)}, of which this machine has no file; choose another, "
                          f"or put {path.name} into {path.parent}.") from None
    except NewerFile as error:
        raise ConfigError(f"Preset {shown(name)} cannot be used: {path} does not hold a preset that this version of ToCa knows ({error}). "
                          f"It was saved by a newer version; update ToCa.") from None
    except UnreadableFile as error:
        raise ConfigError(f"Preset {shown(name)} cannot be used: {path} does not hold a preset ({error}); delete it, or save the preset "
                          f"again with ToCa Calibrate.") from None
    except ConfigError as error:
        raise ConfigError(f"Preset {shown(name)} cannot be used: {error}") from None


def preset_of(preset) -> tuple[ToCaConfig, str]:
    """The settings of a saved preset as a prompt names it, and a remark or "".

    With its settings after the name, `name {"level": ...}`, it travels with its workflow: those count, whatever this machine has of that
    name. Raises ConfigError where there are none to be had.
    """
    name, settings = split_preset(preset)
    if not settings:
        return load_preset(name), ""
    try:
        config = config_of(strict_json.loads(settings.encode()[:LARGEST]))
    except (ValueError, UnicodeEncodeError) as error:
        if preset_file(name).is_file():
            return load_preset(name), f"The workflow's settings of preset {name} cannot be used ({cut(str(error))}): this machine's were"
        remedy = "update ToCa" if isinstance(error, NewerFile) else "choose another preset"
        raise ConfigError(f"Preset {shown(name)} cannot be used: its settings in the workflow are none ({cut(str(error), 200)}); "
                          f"{remedy}.") from None
    try:
        same = load_preset(name) == config
    except ConfigError:
        return config, f"This machine has no preset {name}: its settings came with the workflow"
    return config, "" if same else (f"This machine's preset {name} has other settings: those of the workflow were used; choose the preset "
                                    f"anew for this machine's")


def split_preset(preset) -> tuple:
    """`name {settings}` -> (name, settings as text or "")."""
    if not isinstance(preset, str):
        return preset, ""
    name, brace, rest = preset.partition("{")
    return (name.strip(), brace + rest) if brace else (preset, "")


def settings_of_preset(config: ToCaConfig) -> dict:
    """Of the settings those that count and are not as they come, as a preset's file holds them."""
    settings = {key: value for key, value in asdict(config).items() if config.counts(key) and value != getattr(PLAIN, key)}
    return {"version": VERSION, **settings}


def rename_preset(name: str, new: str):
    """Raises ConfigError where that cannot be done."""
    change(name, lambda path: path.rename(path.with_name(f"{new}.json")))


def delete_preset(name: str):
    """Raises ConfigError where that cannot be done."""
    change(name, Path.unlink)


def change(name: str, act):
    path = preset_files().get(composed(name))
    if path is None:
        raise ConfigError(f"preset is {shown(name)}, of which this machine has no file; choose one that is listed.")
    try:
        act(path)
    except OSError as error:
        raise ConfigError(f"Preset {shown(name)} cannot be changed, since {path} cannot be written ({error.strerror}); give access "
                          f"there.") from None


def config_of(content) -> ToCaConfig:
    """What a preset file says. Raises NewerFile, UnreadableFile, or ConfigError for a setting."""
    if not isinstance(content, dict):
        raise UnreadableFile("it is no JSON object")
    version = content.pop("version", None)
    if version is not None and (not isinstance(version, int) or isinstance(version, bool) or version < 1):
        raise UnreadableFile(f"its version is {shown(version)}")
    unknown = sorted(content.keys() - {field.name for field in fields(ToCaConfig)})
    if version is not None and version > VERSION:
        raise NewerFile(f"it has version {shown(version)}")
    if unknown:
        raise NewerFile(f"it says {', '.join(map(cut, unknown[:3]))}{', ...' if len(unknown) > 3 else ''}")
    if version is None and content.keys() >= WRITTEN:                 # then max_gap was that of the run it was measured in
        del content["max_gap"]
    if isinstance(ratios := content.get("block_ratios"), list):
        content["block_ratios"] = tuple((line[0], tuple(line[1])) if is_line(line) else line for line in ratios)
    return ToCaConfig(**{"max_gap": PLAIN.max_gap, **content})


# ---- files ----


class UnreadableFile(ValueError):
    """What is wrong with a file, in words that fit into brackets."""


class NewerFile(UnreadableFile):
    """It is not wrong, but of a version to come."""


def read_json(path: Path):
    """What a JSON file holds. Raises FileNotFoundError, and UnreadableFile for all that is not a plain file of JSON."""
    try:
        if not path.is_file():
            raise UnreadableFile("it is no file") if os.path.lexists(path) else FileNotFoundError(path)
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UnreadableFile(error.strerror or type(error).__name__) from None
    if len(data) > LARGEST:
        raise UnreadableFile(f"it is larger than {LARGEST // 1000} kB")
    try:
        return strict_json.loads(data)
    except ValueError as error:
        raise UnreadableFile(str(error)) from None


def read(path: Path):
    """What a JSON file holds; None, with a line in the log, where it cannot be read."""
    try:
        return read_json(path)
    except FileNotFoundError:
        return None
    except UnreadableFile as error:
        log.warning("ToCa: %s is passed over, since it cannot be read (%s)", path, error)
        return None


def write(path: Path, content):
    """Whole or not at all: a run that ends meanwhile leaves no half of a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(content, indent=1), encoding="utf-8")
    part.replace(path)
