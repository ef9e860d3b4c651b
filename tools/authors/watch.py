"""What the authors' code recomputes, step by step, seen at its own functions; nothing of what they do is changed."""

import dataclasses
from collections.abc import Callable

import torch
from torch import nn

# Of PixArt and of Open-Sora, as released.
CACHING = {"cache_type": "attention", "force_fresh": "global", "ratio_scheduler": "ToCa", "fresh_ratio": 0.3, "fresh_threshold": 3,
           "soft_fresh_weight": 0.25}


@dataclasses.dataclass
class Recorded:
    """One run: the weights by their released names, the tensors and the settings of its recording."""
    weights: dict
    tensors: dict
    settings: dict


@dataclasses.dataclass(frozen=True)
class Trial:
    """How a run is done: as it is recorded, or again in other ways to see whether what it chooses hangs on rounding.

    shake     largest relative change of a weight
    inputs    of the recorded run, where a sampler's own would go another way
    """
    dtype: torch.dtype = torch.float32
    shake: float = 0.0
    inputs: torch.Tensor | None = None


class Watch:
    """Stands in for `cache_cutfresh` of a module of theirs and keeps which tokens it chose."""

    def __init__(self, module, site_of: Callable[[dict], str]):
        self.steps: list[dict] = []
        self.cutfresh, self.site_of = module.cache_cutfresh, site_of
        module.cache_cutfresh = self.cut

    def new_step(self):
        self.steps.append({})

    def cut(self, cache_dic, tokens, current):
        indices, fresh = self.cutfresh(cache_dic=cache_dic, tokens=tokens, current=current)
        mask = torch.zeros(tokens.shape[:2], dtype=torch.uint8)
        self.steps[-1][self.site_of(current)] = mask.scatter_(1, indices, 1)
        return indices, fresh

    def masks(self) -> dict:
        """fresh_mask.SITE -> (steps, B, N): 1 at the tokens that were recomputed, nowhere on full steps."""
        nothing = {site: torch.zeros_like(mask) for step in self.steps for site, mask in step.items()}
        return {f"fresh_mask.{site}": torch.stack([step.get(site, empty) for step in self.steps]) for site, empty in nothing.items()}

    def counts(self, prefix: str, depth: int = 28):
        """(steps, depth): how many tokens were recomputed in each block, -1 on full steps."""
        rows = [[int(step[f"{prefix}block{block}"][0].sum()) if step else -1 for block in range(depth)] for step in self.steps]
        return torch.tensor(rows)


def blended(shape, steps: int, seed: int) -> dict:
    """Latents that turn from one noise into another over a run, as `theta`, `x_a` and `x_b` say; see `latent`."""
    generator = torch.Generator().manual_seed(seed)
    x_a, x_b = torch.randn(2, 1, *shape, generator=generator)
    return {"theta": torch.linspace(0, torch.pi / 2, steps), "x_a": x_a, "x_b": x_b}


def latent(tensors: dict, step: int):
    angle = tensors["theta"][step]
    return torch.cos(angle) * tensors["x_a"] + torch.sin(angle) * tensors["x_b"]


def ready(model: nn.Module, weights: dict, trial: Trial, derived: tuple = ()) -> nn.Module:
    """The model with these weights, in one dtype throughout; parts in `derived` it fills in by itself from the others."""
    found = model.load_state_dict(weights, strict=False)
    if found.unexpected_keys or any(not any(part in name for part in derived) for name in found.missing_keys):
        raise SystemExit(f"The weights do not fit the authors' model: {found}. Is their code of another version?")
    model.eval().requires_grad_(False).to(trial.dtype)
    generator = torch.Generator().manual_seed(0)
    for weight in model.parameters() if trial.shake else ():
        weight.mul_(1 + trial.shake * (2 * torch.rand(weight.shape, generator=generator, dtype=trial.dtype) - 1))
    for module in model.modules():
        if isinstance(module, nn.Linear):                           # their embeddings of times are float32 whatever the model is
            module.register_forward_pre_hook(lambda layer, inputs: (inputs[0].to(layer.weight.dtype),))
    return model
