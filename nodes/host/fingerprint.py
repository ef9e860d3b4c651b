"""What a calibration was measured on, in one word, as far as the host tells it."""

import hashlib
import uuid
from dataclasses import is_dataclass
from pathlib import Path
from types import FunctionType

import torch

SMALL = 1 << 16                 # bytes
PROCESS = uuid.uuid4().hex


def fingerprint(*parts) -> str:
    """The same for the same parts: numbers, texts, tensors by their values, functions by name, and lists and dicts of them.

    An object of which nothing is known is another one in every process.
    """
    digest = hashlib.sha256()
    for word in words(parts):
        digest.update(word)
        digest.update(b"\0")
    return digest.hexdigest()[:32]


def words(part):
    if isinstance(part, torch.Tensor):
        yield f"{part.dtype} {tuple(part.shape)}".encode()
        yield part.detach().cpu().flatten().contiguous().view(torch.uint8).numpy().tobytes() if part.numel() else b""
    elif isinstance(part, dict):
        for key in sorted(part, key=str):
            yield str(key).encode()
            yield from words(part[key])
    elif isinstance(part, (list, tuple)):
        yield str(len(part)).encode()
        for one in part:
            yield from words(one)
    elif isinstance(part, (str, int, float, type(None), torch.dtype, torch.device)):
        yield repr(part).encode()
    elif isinstance(part, type):
        yield part.__qualname__.encode()
    elif isinstance(part, FunctionType):
        yield part.__qualname__.encode()
        yield from words([cell.cell_contents for cell in part.__closure__ or ()])
    elif is_dataclass(part):
        yield type(part).__qualname__.encode()
        yield from words(vars(part))
    else:
        yield f"{type(part).__qualname__} {PROCESS} {id(part)}".encode()


def model_parts(model) -> tuple:
    """A MODEL: its class, the file and options it was loaded with, what was changed on it.

    Where weights are patched (LoRA), or where no file is known, this process's own number of that state stands for it, so that a
    calibration does not outlive the process; a model of next to no size is known by its weights.
    """
    loaded = (model.cached_patcher_init or (None, ()))[1]
    files = [(path.stat().st_size, path.stat().st_mtime_ns) for path in map(Path, filter(lambda one: isinstance(one, str), loaded))
             if path.is_file()]
    weights = model.model.state_dict() if not files and model.model_size() < SMALL else {}
    unknown = str(model.patches_uuid) if model.patches or not (files or weights) else ""
    options = dict(model.model_options.get("transformer_options", {}))
    wrappers = options.pop("wrappers", {}).items()
    wrappers = sorted((str(kind), str(key), len(chain)) for kind, chains in wrappers for key, chain in chains.items())
    return (type(getattr(model.model, "diffusion_model", model.model)).__name__, str(model.model_dtype()), loaded, files, weights, unknown,
            sorted(model.object_patches), {**model.model_options, "transformer_options": options}, wrappers)
