"""Checkpoint files to patched models, the way the host's own loader does it (`comfy/sd.py`), for models it cannot detect."""

import logging

import torch

import comfy.model_management
import comfy.model_patcher
import comfy.utils

DTYPES = {"default": None, "bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
WRAPPINGS = ("ema", "state_dict", "model")      # what training scripts put around the weights; the averaged ones first


class CheckpointError(ValueError):
    """A file that cannot be used; the message names it, what was found and what was expected."""


def read_checkpoint(path: str) -> tuple[dict, dict]:
    """-> (state dict, metadata). Pickles are read with `weights_only`, so code inside them never runs."""
    try:
        weights, metadata = comfy.utils.load_torch_file(path, safe_load=True, return_metadata=True)
    except Exception as error:
        raise CheckpointError(
            f"{path} could not be read: {first_line(error)}. It is cut short, no checkpoint, or holds more than "
            f"tensors (which is never loaded); download it again, or convert it to .safetensors.") from error
    for wrapping in WRAPPINGS:
        if isinstance(weights.get(wrapping), dict):
            weights = weights[wrapping]
    tensors = {key.removeprefix("model.diffusion_model."): value for key, value in weights.items() if torch.is_tensor(value)}
    return tensors, metadata or {}


def first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def make_patcher(path: str, weights: dict, config, weight_dtype: str, disable_dynamic: bool = False):
    """Build the model of a host config (`comfy.supported_models_base.BASE`), load the weights to the last key, wrap it.

    Raises CheckpointError where a key is missing, left over or of another shape.
    """
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
    """The model of a host config on a device, still empty, if the weights fit it; else CheckpointError."""
    model = config.get_model(weights, "", device=device)
    check_keys(path, model.diffusion_model, config.process_unet_state_dict(dict(weights)))
    return model


def check_keys(path: str, diffusion_model, weights: dict):
    expected = diffusion_model.state_dict()
    name = type(diffusion_model).__name__
    missing, extra = sorted(expected.keys() - weights.keys()), sorted(weights.keys() - expected.keys())
    if missing or extra:
        raise CheckpointError(f"{path} is no {name} this pack knows: {len(missing)} keys missing ({shown(missing)}), "
                              f"{len(extra)} left over ({shown(extra)}).")
    for key, tensor in expected.items():
        if tensor.shape != weights[key].shape:
            raise CheckpointError(f"{path}: {key} has shape {tuple(weights[key].shape)}, {name} expects {tuple(tensor.shape)}.")


def shown(keys: list[str]) -> str:
    return ", ".join(keys[:3]) + (", ..." if len(keys) > 3 else "") if keys else "none"


def require(path: str, weights: dict, keys: tuple[str, ...], what: str):
    """Refuse a file that lacks the keys by which a model is known."""
    missing = [key for key in keys if key not in weights]
    if missing:
        raise CheckpointError(f"{path} is no {what}: it has no {missing[0]}. Expected keys such as {', '.join(keys)}; "
                              f"found {shown(sorted(weights)) if weights else 'no tensors'}.")


def depth_of(weights: dict, stack: str = "blocks") -> int:
    return 1 + max(int(key.split(".")[1]) for key in weights if key.startswith(stack + "."))


def heads_of(path: str, hidden: int, given: int, metadata: dict, known: dict[int, int]) -> int:
    """The head count leaves no trace in the weights: as given, else from the file's metadata, else the released models'."""
    heads = given or int(metadata.get("num_heads", 0)) or known.get(hidden)
    if not heads:
        raise CheckpointError(f"{path} has hidden size {hidden}, of no released model (those are {', '.join(map(str, known))}); "
                              f"set num_heads to the number of attention heads it was trained with.")
    if hidden % heads:
        raise CheckpointError(f"{path}: num_heads is {heads}, which does not divide the hidden size {hidden}.")
    return heads
