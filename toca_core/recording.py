"""Token by token: how often each was recomputed, and by how much its forecasts erred.

Sums lie on the device where the tokens are and are read once, when the run is over: nothing waits for them in between.
"""

import math
from dataclasses import dataclass

import torch

from .select.regions import patch_means


@dataclass(frozen=True)
class TokenMaps:
    """Of the pictures of one run, (b, frames, rows, columns) in float32 on the CPU.

    recomputed    share of the work on a token that was done, 0..1, over all calls; 1 where nothing was cached
    error         root mean square of its forecasts' errors at the full steps that measured them, in percent of the prediction of its
                  whole picture; None where nothing was measured
    latent        its (frames, H, W)
    patch         (frames, rows, columns) of it that make one token, the last of which may be cut
    """
    recomputed: torch.Tensor
    error: torch.Tensor | None
    latent: tuple[int, int, int]
    patch: tuple[int, int, int]


class TokenRecord:
    """What happens to the tokens of one run.

    shape    of its latent, (b, C, [frames,] H, W); calls on crops, windows or other pictures are left out
    patch    (frames, rows, columns) of it that make one token, the last of which may be cut
    packed   numbers of a sample that has further parts (sound) behind this one, all in a row: x is (B, 1, numbers)
    """

    def __init__(self, shape, patch: tuple[int, int, int], packed: int | None = None):
        self.batch, self.shape, self.patch = shape[0], tuple(shape[1:]), patch
        self.sides = self.shape[1:] if packed is None else (packed,)
        self.latent = (1, 1, *self.shape[1:])[-3:]
        self.grid = tuple(-(-side // step) for side, step in zip(self.latent, patch, strict=True))
        self.calls, self.whole = 0, 0.0                             # conditionings, those computed in full
        self.parts: dict[torch.device, torch.Tensor] = {}           # sums (b, tokens)
        self.measured = 0
        self.errors: dict[torch.device, torch.Tensor] = {}          # sums of squared errors, (b, *grid)

    def fits(self, x) -> bool:
        return tuple(x.shape[2:]) == self.sides and x.shape[0] % self.batch == 0

    def call(self, x, recomputed):
        """A call on x (B, C, ...). recomputed: 0..1 for all its tokens, or (B or fewer, tokens), since conditionings may share one."""
        if not self.fits(x):
            return
        conds = x.shape[0] // self.batch
        self.calls += conds
        if not torch.is_tensor(recomputed):
            self.whole += conds * recomputed
        else:                                                       # reference pictures come after the picture
            tokens = recomputed[:, :math.prod(self.grid)].unflatten(0, (-1, self.batch)).mean(0) * conds
            self.parts[x.device] = self.parts.get(x.device, 0) + tokens

    def token_error(self, x, squared):
        """Squared errors (B, N) of the tokens of a call on x (B, C, ...), relative to the prediction; the grid's come first."""
        count = math.prod(self.grid)
        if self.fits(x) and squared.shape[1] >= count:
            self.add_errors(squared[:, :count].unflatten(1, self.grid))

    def error(self, error, output):
        """The error (B, C, ...) of a forecast of the prediction `output`."""
        if not self.fits(output):
            return
        error, output = self.first_part(error), self.first_part(output)
        tokens = patch_means(error.float().square().mean(1).view(-1, *self.latent), self.patch)
        relative = tokens / output.float().square().flatten(1).mean(1).clamp_min(1e-12)[:, None, None, None]
        self.add_errors(relative)

    def first_part(self, x):
        """(B, C, ...), also of a sample of several parts."""
        return x.flatten(1)[:, :math.prod(self.shape)].unflatten(1, self.shape)

    def add_errors(self, relative):
        """(B, frames, rows, columns)."""
        each = relative.unflatten(0, (-1, self.batch))
        self.measured += len(each)
        self.errors[relative.device] = self.errors.get(relative.device, 0) + each.sum(0)

    def maps(self) -> TokenMaps | None:
        """None where no call was on whole pictures of the run."""
        if not self.calls:
            return None
        parts = sum((part.cpu() for part in self.parts.values()), start=torch.zeros(self.batch, math.prod(self.grid)))
        recomputed = ((parts + self.whole) / self.calls).unflatten(1, self.grid)
        errors = sum((part.cpu() for part in self.errors.values()), start=torch.zeros(self.batch, *self.grid))
        error = 100 * torch.nan_to_num(errors / self.measured, posinf=0.0).sqrt() if self.measured else None
        return TokenMaps(recomputed, error, self.latent, self.patch)
