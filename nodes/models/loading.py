"""Checkpoint files to patched models, the way the host's own loader does it (`comfy/sd.py`), for models it cannot detect."""

import logging
import re
from collections.abc import Mapping
from contextlib import contextmanager

import safetensors
import torch

import comfy.model_management
import comfy.model_patcher
import comfy.utils

from ...toca_core.checks import cut, shown

DTYPES = {"default": None, "bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
WRAPPINGS = ("ema", "state_dict", "model")      # what training scripts put around the weights; the averaged ones first
STORED = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2)
MOST_BLOCKS = 512                               # of a stack, several times those of any model
META = torch.device("meta")                     # where tensors have shapes and no memory
LONGEST_KEY, LONGEST_REASON = 100, 200          # characters in an error


class CheckpointError(ValueError):
    """A file that cannot be used; the message names it, what was found and what was expected."""


# ---- what a file holds ----


def read_checkpoint(path: str) -> tuple[dict, dict]:
    """-> (state dict, metadata). Pickles are read with `weights_only`, so code inside them never runs."""
    try:
        check_header(path)
        weights, metadata = comfy.utils.load_torch_file(path, safe_load=True, return_metadata=True)
    except Exception as error:
        raise CheckpointError(
            f"{path} could not be read: {first_line(error)}. It is cut short, no checkpoint, or holds more than "
            f"tensors (which is never loaded); download it again, or convert it to .safetensors.") from error
    for wrapping in WRAPPINGS:
        if isinstance(weights, dict) and isinstance(weights.get(wrapping), dict):
            weights = weights[wrapping]
    if not isinstance(weights, dict) or not all(isinstance(key, str) for key in weights):
        raise CheckpointError(f"{path} is no checkpoint: it holds {shown(weights)} in place of tensors by name; download it again.")
    tensors = {key.removeprefix("model.diffusion_model."): value for key, value in weights.items() if torch.is_tensor(value)}
    return tensors, metadata or {}


def check_header(path: str):
    """Not every reader of the host compares what a .safetensors file says of itself with its size."""
    if path.lower().endswith((".safetensors", ".sft")):
        with safetensors.safe_open(path, framework="pt"):
            pass


def first_line(error: Exception) -> str:
    if isinstance(error, (AttributeError, LookupError, TypeError)):         # the host's code stumbled over what it found
        return f"it does not hold tensors by name ({type(error).__name__})"
    return cut(next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip("."), LONGEST_REASON)


def listed(keys: list[str]) -> str:
    return ", ".join(map(cut_key, keys[:3])) + (", ..." if len(keys) > 3 else "") if keys else "none"


def cut_key(key: str) -> str:
    return cut(key, LONGEST_KEY)


# ---- from weights to a model ----


def make_patcher(path: str, weights: dict, config, weight_dtype: str, disable_dynamic: bool = False):
    """Build the model of a host config (`comfy.supported_models_base.BASE`), load the weights to the last key, wrap it.

    Raises CheckpointError where a key is missing, left over, of another shape or not stored as floating-point numbers.
    """
    check_tensors(path, weights)
    device, offload = comfy.model_management.get_torch_device(), comfy.model_management.unet_offload_device()
    dtype = DTYPES[weight_dtype] or comfy.model_management.unet_dtype(
        model_params=comfy.utils.calculate_parameters(weights), supported_dtypes=list(config.supported_inference_dtypes),
        weight_dtype=comfy.utils.weight_dtype(weights))
    config.set_inference_dtype(dtype, comfy.model_management.unet_manual_cast(dtype, device, config.supported_inference_dtypes))
    model = build(path, weights, config, offload)
    patcher_class = comfy.model_patcher.ModelPatcher if disable_dynamic else comfy.model_patcher.CoreModelPatcher
    patcher = patcher_class(model, load_device=device, offload_device=offload)
    model.load_model_weights(dict(weights), "", assign=patcher.is_dynamic())
    logging.info("ToCa loaded %s: %s", type(model.diffusion_model).__name__, path)
    return patcher


def build(path: str, weights: dict, config, device):
    """The model of a host config on a device, still empty, if the weights fit it; else CheckpointError.

    They are compared with a model without memory, so for a file that does not fit nothing takes any.
    """
    with sizes_understood(path):
        bare = config.get_model(weights, "", device=META)
        check_keys(path, bare.diffusion_model, config.process_unet_state_dict(dict(weights)))
    return bare if device == META else config.get_model(weights, "", device=device)


@contextmanager
def sizes_understood(path: str):
    """What code that derives a model from the sizes in a file raises on sizes that no model has, as a CheckpointError."""
    try:
        yield
    except CheckpointError:
        raise
    except KeyError as error:
        raise CheckpointError(f"{path} is no whole checkpoint: it has no {cut_key(str(error.args[0]))}; download it again.") from error
    except (ArithmeticError, AssertionError, AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} holds sizes of no model this pack knows ({first_line(error)}); download it again.") from error


def check_tensors(path: str, weights: dict):
    """Refuse what is not stored as plain numbers, and tensors that speak of more numbers than they hold."""
    for key, tensor in weights.items():
        if tensor.dtype not in STORED or tensor.layout != torch.strided:
            kind = str(tensor.dtype if tensor.layout == torch.strided else tensor.layout).removeprefix("torch.")
            raise CheckpointError(f"{path}: {cut_key(key)} is stored as {kind}, and this pack loads plain floating-point numbers of "
                                  f"8 to 64 bits; load a file that is not quantised in another way.")
        if tensor.is_meta or tensor.untyped_storage().nbytes() < tensor.numel() * tensor.element_size():
            raise CheckpointError(f"{path}: {cut_key(key)} has shape {sizes_of(tensor)}, but not as many numbers; download it again.")


def check_keys(path: str, diffusion_model, weights: dict):
    expected = diffusion_model.state_dict()
    name = type(diffusion_model).__name__
    missing, extra = sorted(expected.keys() - weights.keys()), sorted(weights.keys() - expected.keys())
    if missing or extra:
        raise CheckpointError(f"{path} is no {name} this pack knows: {len(missing)} keys missing ({listed(missing)}), "
                              f"{len(extra)} left over ({listed(extra)}).")
    for key, tensor in expected.items():
        if tensor.shape != weights[key].shape:
            raise CheckpointError(f"{path}: {key} has shape {sizes_of(weights[key])}, {name} expects {sizes_of(tensor)}.")


def sizes_of(tensor) -> str:
    return cut(str(tuple(tensor.shape)))


# ---- what the weights say ----


def require(path: str, weights: dict, keys: Mapping[str, int | None], what: str, optional: Mapping[str, int] | None = None):
    """Refuse a file that lacks the keys by which a model is known, or has them in another form.

    keys        {key: number of axes, or None where the caller looks}
    optional    the same of keys that a file may lack
    """
    missing = [key for key in keys if key not in weights]
    if missing:
        raise CheckpointError(f"{path} is no {what}: it has no {missing[0]}. Expected keys such as {', '.join(keys)}; "
                              f"found {listed(sorted(weights)) if weights else 'no tensors'}.")
    for key, axes in {**keys, **(optional or {})}.items():
        shape = weights[key].shape if key in weights else (1,) * (axes or 0)
        if axes not in (None, len(shape)) or 0 in shape:
            wanted = "" if axes is None else f"{axes} axes, "
            raise CheckpointError(f"{path}: {key} has shape {sizes_of(weights[key])}; a {what} has {wanted}none of them empty, there. "
                                  f"Download it again.")


def patch_of(path: str, weights: dict) -> tuple[int, int, int]:
    """-> (hidden size, channels, side of a patch) of what embeds square patches of a picture."""
    hidden, channels, patch, other = weights["x_embedder.proj.weight"].shape
    if patch != other:
        raise CheckpointError(f"{path}: x_embedder.proj.weight is for patches of {patch} x {other}; this pack loads models of square ones.")
    return hidden, channels, patch


NUMERAL = re.compile(r"0|[1-9][0-9]{0,8}")


def depth_of(path: str, weights: dict, stack: str = "blocks") -> int:
    """How many blocks a stack has.

    Raises CheckpointError where the file does not number them 0, 1, 2, ... without a gap: no model is made as large as a single key says.
    """
    found: dict[str, str] = {}                                      # number -> the first key that has it
    for key in weights:
        if key.startswith(stack + "."):
            found.setdefault(key[len(stack) + 1:].split(".")[0], key)
    for number, key in found.items():
        if not NUMERAL.fullmatch(number) or int(number) >= len(found):
            gap = next(index for index in range(len(found)) if str(index) not in found)
            raise CheckpointError(f"{path} has {cut_key(key)} and no {stack}.{gap}: its {stack} are not numbered without a gap; "
                                  f"download it again.")
    if len(found) > MOST_BLOCKS:
        raise CheckpointError(f"{path} has {len(found)} {stack}; this pack loads models of up to {MOST_BLOCKS}.")
    return len(found)


# ---- what the metadata say ----


def whole_number(path: str, metadata: dict, name: str) -> int | None:
    """A number of the metadata, from 1 up; None where it is not there."""
    text = metadata.get(name)
    if text is not None and not NUMERAL.fullmatch(str(text)) or text == "0":
        raise CheckpointError(f"{path}: its metadata says {name} {shown(text)}, which is no whole number from 1 up; "
                              f"write the true one into the file, or load another file.")
    return None if text is None else int(text)


def heads_of(path: str, hidden: int, given: int, metadata: dict, known: dict[int, int]) -> int:
    """The head count leaves no trace in the weights: as given, else from the file's metadata, else the released models'."""
    heads = given or whole_number(path, metadata, "num_heads") or known.get(hidden)
    if not heads:
        raise CheckpointError(f"{path} has hidden size {hidden}, of no released model (those are {', '.join(map(str, known))}); "
                              f"set num_heads to the number of attention heads it was trained with.")
    if heads < 1 or hidden % heads:
        raise CheckpointError(f"{path}: num_heads is {heads}, which does not divide the hidden size {hidden}; "
                              f"set num_heads to the number of attention heads it was trained with.")
    return heads
