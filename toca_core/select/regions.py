"""Parts of the picture that a user or a noise mask singles out, and the tokens that they cover."""

import copy

import torch
import torch.nn.functional as F

from .seeding import generator

MASK_SHARE_LIMIT = 0.4          # of the tokens: with more of them, computing those of a noise mask costs more than it gives


class Region:
    """Where the work goes in one sampling run.

    area        (b, frames, H, W), true inside, in the latent's size; one for all samples, or one for each
    dilation    how many tokens around it are computed with it
    patch       (frames, rows, columns) of the latent that make one token
    given       by the user, not by the latent
    """

    def __init__(self, area, dilation: int, patch: tuple[int, int, int], given: bool = False):
        self.area, self.dilation, self.patch, self.given = area, dilation, patch, given
        self.covered = patch_means(area.float(), patch)             # (b, frames, rows, columns) of the token grid, the share inside
        self.tokens = self.covered > 0
        if dilation:
            self.tokens = F.max_pool2d(self.tokens.float(), 2 * dilation + 1, stride=1, padding=dilation) > 0

    @property
    def share(self) -> float:
        """Of the tokens that have to be computed."""
        return self.tokens.flatten(1).float().mean(1).max().item()

    @property
    def drawn(self) -> float:
        """Share of the picture that is drawn, 0..1: around a noise mask it is known, a user's mask only says what matters."""
        return 1.0 if self.given else self.area.float().mean().item()

    def fits(self, x) -> bool:
        """Whether this speaks of latents like x (B, C, [frames,] H, W); of the crops of area conditioning it does not."""
        return tuple(x.shape[-2:]) == tuple(self.area.shape[-2:]) and x.shape[0] % len(self.area) == 0

    def inside(self, like):
        """(B, 1, ...) to go with predictions (B, C, ...): 1 inside, 0 outside."""
        return spread_over(self.area, like)

    def by_token(self, values, like, count: int, start: int = 0):
        """Values of the grid's tokens, (b, frames, rows, columns), for `count` tokens of each sample of `like` (B, ...), where those are:
        (B, count). The grid begins at `start`; those beside it (reference pictures) are 0."""
        return among(values.flatten(1).to(like.device, torch.float32), start, count).repeat(like.shape[0] // len(values), 1)


def patch_means(values, patch: tuple[int, int, int]):
    """(B, frames, H, W) -> (B, frames, rows, columns): the mean of what there is of each patch, the last of which may be cut.

    Pooling in three dimensions is not there on every device (torch before 2.9 on MPS).
    """
    return patch_sums(values, patch) / patch_sums(torch.ones_like(values[:1]), patch)


def patch_sums(values, patch: tuple[int, int, int]):
    beyond = [-side % step for side, step in zip(values.shape[1:], patch, strict=True)]
    whole = F.pad(values, (0, beyond[2], 0, beyond[1], 0, beyond[0]))
    for axis, step in zip((3, 2, 1), reversed(patch), strict=True):
        whole = whole.unflatten(axis, (-1, step)).sum(axis + 1)
    return whole


def among(of_grid, start: int, count: int, beside: float = 0.0):
    """What is said of a grid's tokens, (b, n), of all `count` that they lie among from `start` on: `beside` of the others."""
    return F.pad(of_grid, (start, count - start - of_grid.shape[-1]), value=beside)


def spread_over(area, like):
    """(b, frames, H, W) -> (B, 1, [frames,] H, W) for predictions like (B, C, [frames,] H, W)."""
    area = area[:, None] if like.ndim == 5 else area
    return area.to(like).repeat(like.shape[0] // len(area), *[1] * (area.ndim - 1))


def noise_area(mask):
    """The host's mask of a latent, (b, C, [frames,] H, W) in 0..1 -> (b, frames, H, W), true where anything is drawn."""
    area = mask.amax(1) > 0
    return area[:, None] if area.ndim == 3 else area


def painted(mask, frames: int | None, size: tuple[int, int], batch: int):
    """A MASK (m, H, W) of any size on a latent: -> (1 or batch, frames, *size), the highest value that falls on each place.

    The m masks are one for all, one for each picture of the batch, or, for a video, moments of it. Raises ValueError.
    """
    mask = mask.flatten(0, -3).float()
    if frames is not None:
        return F.adaptive_max_pool3d(mask[None], (frames, *size))
    if len(mask) not in (1, batch):
        raise ValueError(f"The mask has {len(mask)} pictures, the latent {batch}; give one mask for all, or one for each picture.")
    return F.adaptive_max_pool2d(mask[:, None], size)


class Plan:
    """The fresh tokens of the steps that follow a full one, decided there: a list of indices (B, n), one for each step.

    Always those of the region, then the best of the others; a sample whose region is smaller than another's gets more of those.
    """

    def __init__(self, config, tokens: int, region=None, priority=None, seed: int = 0):
        self.config, self.region, self.priority, self.seed = config, region, priority, seed
        self.always = 0 if region is None else int(region.sum(-1).max())
        self.count = min(tokens, self.always + int(config.refresh_ratio * tokens))
        self.tokens = tokens
        self.steps: list[torch.Tensor] = []
        self.generator: torch.Generator | None = None

    def renew(self, score, steps: int):
        """score (B, N) of the full step, or what is like it, from which the tokens beyond the region are chosen."""
        if self.count == self.always and self.steps and self.steps[0].shape[0] == score.shape[0]:
            return                                                  # the region alone: the same at every step
        age, self.steps = torch.zeros_like(score), []
        for _ in range(steps if self.count > self.always else 1):
            fresh = self.best(score, age)
            age = (age + 1).scatter_(-1, fresh, 0.0)
            self.steps.append(fresh)

    def best(self, score, age):
        if self.config.refresh == "random":
            if self.generator is None:
                self.generator = generator(score.device, self.seed)
            score = torch.rand(score.shape, generator=self.generator, device=score.device)
        score = score + self.config.staleness_weight * age / self.config.cycle
        if self.priority is not None:
            score = score * repeated(self.priority, score)
        if self.region is not None:
            score = score + repeated(self.region, score) * 1e6
        return score.topk(self.count, dim=-1).indices

    def divided(self, count: int) -> list["Plan"]:
        """One for each of `count` conditionings."""
        parts = [copy.copy(self) for _ in range(count)]
        for index, part in enumerate(parts):
            part.steps = [fresh.chunk(count)[index] for fresh in self.steps]
        return parts

    @classmethod
    def joined(cls, parts: list["Plan"]) -> "Plan":
        whole = copy.copy(parts[0])
        whole.steps = [torch.cat(fresh) for fresh in zip(*(part.steps for part in parts), strict=False)]
        return whole

    def at(self, steps_since: int):
        """The fresh tokens of the n-th step after the full one, n from 1."""
        return self.steps[min(steps_since, len(self.steps)) - 1]


def repeated(of_samples, like):
    """(b, N) -> (B, N), since conditionings share what is said of samples."""
    return of_samples.to(like).repeat(like.shape[0] // of_samples.shape[0], 1)
