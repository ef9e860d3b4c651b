"""DiT checkpoints to models: the host-side config and model around `dit.DiT`."""

import torch

import comfy.conds
import comfy.latent_formats
import comfy.model_base
import comfy.supported_models_base

from ...toca_core.checks import shown
from .. import strict_json
from .dit import DiT, DiTShape
from .loading import CheckpointError, depth_of, heads_of, make_patcher, patch_of, read_checkpoint, require

LABELS = "toca_class_labels"                                            # key in a conditioning's options
ROUNDING = 5e-7                                                         # of float32, when a class is averaged with itself
RELEASED_HEADS = {1152: 16, 1024: 16, 768: 12, 384: 6}                  # DiT-XL, L, B, S
KEYS = {"x_embedder.proj.weight": 4, "y_embedder.embedding_table.weight": 2, "pos_embed": 3, "blocks.0.attn.qkv.weight": 2,
        "blocks.0.mlp.fc1.weight": 2, "blocks.0.adaLN_modulation.1.weight": 2, "final_layer.linear.weight": 2}


class PixelSpace(comfy.latent_formats.LatentFormat):
    """RGB pictures in -1..1 as latents, for the host's `pixel_space` VAE."""
    latent_channels = 3
    spacial_downscale_ratio = 1
    latent_rgb_factors = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]


PREDICTIONS = {                                                         # "prediction" in the file's metadata: what the network says
    "eps": comfy.model_base.ModelType.EPS,                              # the noise
    "flow": comfy.model_base.ModelType.FLOW,                            # the velocity, noise minus picture
    "flow_x0": comfy.model_base.ModelType.FLOW,                         # the picture, over the times of a flow
}
GUIDED_CHANNELS = {"all": None, "first three": 3}
LATENT_FORMATS = {3: PixelSpace, 4: comfy.latent_formats.SD15}


class DiTConfig(comfy.supported_models_base.BASE):
    """The released DiT predicts noise over 1000 linear betas, 1e-4 to 0.02 (which the host calls sqrt_linear)."""
    unet_config = {"image_model": "toca_dit"}
    unet_extra_config: dict = {}
    sampling_settings = {"beta_schedule": "sqrt_linear", "linear_start": 1e-4, "linear_end": 0.02, "timesteps": 1000}

    def __init__(self, shape: DiTShape, class_names: list[str], prediction: str = "eps"):
        super().__init__({**self.unet_config, **shape.as_unet_config(), "says_picture": prediction == "flow_x0"})
        self.prediction = PREDICTIONS[prediction]
        self.latent_format = LATENT_FORMATS[shape.in_channels]()
        self.memory_usage_factor = 2.0 / shape.patch_size ** 2          # the host's PixArt has 0.5 at patch 2
        self.class_names = class_names

    def get_model(self, state_dict, prefix="", device=None):
        return DiTModel(self, self.prediction, device=device)


class DiTModel(comfy.model_base.BaseModel):
    def __init__(self, model_config, prediction, device=None):
        super().__init__(model_config, prediction, device=device, unet_model=DiT)

    def extra_conds(self, **kwargs):
        classes = self.diffusion_model.classes
        labels = labels_of(kwargs.get("cross_attn"), kwargs.get(LABELS), classes)
        if int(labels.max()) > classes:
            raise ValueError(f"Class label {int(labels.max())} does not exist in this model, which has {classes} classes; "
                             f"connect the same model to ToCa DiT Class.")
        return {"y": comfy.conds.CONDRegular(labels)}


def shape_of(path: str, weights: dict, metadata: dict, num_heads: int = 0) -> DiTShape:
    """Every size from the weights; the heads see `heads_of`."""
    require(path, weights, KEYS, "DiT checkpoint")
    hidden, in_channels, patch = patch_of(path, weights)
    grid = round(weights["pos_embed"].shape[1] ** 0.5)
    if grid * grid != weights["pos_embed"].shape[1]:
        raise CheckpointError(f"{path}: pos_embed has {weights['pos_embed'].shape[1]} positions; a DiT's grid is square, so "
                              f"this is another model's file, or a broken one.")
    if in_channels not in LATENT_FORMATS:
        raise CheckpointError(f"{path} works on {in_channels} channels; known are 4 (SD-1.5 latents) and 3 (RGB pixels).")
    return DiTShape(
        in_channels=in_channels, out_channels=weights["final_layer.linear.weight"].shape[0] // patch ** 2, patch_size=patch,
        hidden_size=hidden, depth=depth_of(path, weights), num_heads=heads_of(path, hidden, num_heads, metadata, RELEASED_HEADS),
        mlp_hidden=weights["blocks.0.mlp.fc1.weight"].shape[0],
        classes=weights["y_embedder.embedding_table.weight"].shape[0] - 1, grid=grid)


def config_of(path: str, weights: dict, metadata: dict, num_heads: int = 0) -> DiTConfig:
    """All that the weights and the metadata say."""
    shape = shape_of(path, weights, metadata, num_heads)
    prediction = metadata.get("prediction", "eps")
    if prediction not in PREDICTIONS:
        raise CheckpointError(f"{path}: its metadata says prediction {shown(prediction)}; known are {', '.join(PREDICTIONS)}.")
    return DiTConfig(shape, class_names_of(metadata, shape.classes, path), prediction)


def load_dit(path: str, weight_dtype: str = "default", num_heads: int = 0, disable_dynamic: bool = False):
    """A DiT checkpoint (.safetensors, .pt) -> ModelPatcher. Raises CheckpointError for any other file."""
    weights, metadata = read_checkpoint(path)
    patcher = make_patcher(path, weights, config_of(path, weights, metadata, num_heads), weight_dtype, disable_dynamic)
    patcher.cached_patcher_init = (load_dit, (path, weight_dtype, num_heads))
    return patcher


def guide_first(model, channels: int):
    """Guidance steers only a latent's first channels on this MODEL; the others keep the prediction for the class.

    The sampler of facebookresearch/DiT does so with three of the four (`forward_with_cfg` in its models.py).
    """
    def guided(args):
        steering = (args["cond"] - args["uncond"]) * (args["cond_scale"] - 1)       # (B, C, H, W)
        steering[:, channels:] = 0
        return args["cond"] + steering
    model.set_model_sampler_cfg_function(guided)


def class_names_of(metadata: dict, classes: int, path: str = "The file") -> list[str]:
    """Names of the classes: from the file's metadata where it has one for each, ImageNet's where there are 1000, else none."""
    if "class_names" in metadata:
        names = names_in(metadata["class_names"], path)
        return names if len(names) == classes else []
    if classes == 1000:
        from torchvision.models._meta import _IMAGENET_CATEGORIES  # torchvision is a requirement of the host
        return list(_IMAGENET_CATEGORIES)
    return []


def names_in(text: str, path: str) -> list[str]:
    try:
        names = strict_json.loads(str(text).encode("utf-8", "surrogatepass"))
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError("it is no list of texts")
    except ValueError as error:
        raise CheckpointError(f"{path}: class_names in its metadata are {shown(text)}, and {error}; write them as a JSON list of texts, or "
                              f"leave them out.") from None
    return names


def conditioning(labels: list[int]):
    """Class labels, cycled over the batch, as the host's CONDITIONING."""
    known = torch.tensor(labels, dtype=torch.long)[:, None]
    return [[embedding_of(known), {LABELS: known}]]


def embedding_of(labels):
    """Labels (n, 1) -> (1, 3 n, 1), in which whatever a node does to a text's embedding can be told (`labels_of`).

    Three tokens for each: the label + 1, which is never 0; its square, which no mean of two labels has; and n.
    """
    value = labels.float() + 1
    return torch.cat([value, value.square(), torch.full_like(value, len(labels))], dim=1).reshape(1, -1, 1)


def labels_of(embedding, labels, classes: int):
    """A conditioning's embedding and its labels (n, 1), as nodes have left them -> the labels (m, 1) that it means.

    All zeros, as ConditioningZeroOut leaves them, are the null class, and so is no embedding at all; the others of whole classes are
    those. Raises ValueError, with the node that will have done it, for what is no class.
    """
    null = torch.tensor([[classes]])
    if embedding is None:
        return null if labels is None else labels
    if labels is None:
        raise ValueError("The conditioning carries no class label, a DiT knows nothing else; connect ToCa DiT Class.")
    if not embedding.any():
        return null
    if embedding.shape[1] > 3 * len(labels):
        raise ValueError("The conditioning is one of classes joined by ConditioningConcat, but a DiT knows one class per picture: for a "
                         "batch of several name them in ToCa DiT Class, with commas between them, or take ConditioningCombine.")
    tokens = embedding.float().flatten()
    tokens = tokens[tokens != 0]                                    # without what ConditioningAverage adds to fewer classes
    found = tokens[::3].round().long()[:, None] - 1
    meant = embedding_of(found).to(tokens).flatten()
    if tokens.shape != meant.shape or not torch.allclose(tokens, meant, rtol=ROUNDING, atol=0.0):
        raise ValueError("The conditioning is a mixture of classes, as ConditioningAverage makes it, but a DiT knows one class per "
                         "picture: connect ToCa DiT Class without it, or mix what the model predicts with ConditioningCombine.")
    return found
