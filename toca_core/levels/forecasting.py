"""What the levels that forecast whole steps share: full steps where the measured error asks for them, and that error's repayment."""

import torch

from ..ahead import Number
from ..error_cycle import ErrorCycle
from ..quality import rms
from ..schedule import Moment
from .base import Run

NO_NOISE = 1e-6                 # noise level below which a prediction says nothing of the noise
UNUSABLE = 1e6                  # error of a forecast that is not finite


class Forecasting:
    """Decides for every evaluation whether it is full, and on full ones hears what skipping it would have given."""

    moment: Moment                                                  # this evaluation
    relative = False                                                # as in `error_cycle.ErrorCycle`

    def __init__(self, run: Run):
        self.run, self.config = run, run.config
        self.errors = ErrorCycle(run.config, run.cycle, 1.0 if run.region is None else run.region.drawn, self.relative, run.noisy)
        self.found: list[torch.Tensor] = []                         # errors of this evaluation's forecasts, relative to the prediction

    def begin(self, moment: Moment) -> frozenset[str]:
        self.moment = moment
        return self.run.kinds if self.errors.is_full(moment) else frozenset()

    @property
    def whole(self) -> bool:
        return False

    @property
    def repays(self) -> bool:
        return self.run.linear and self.config.repayment > 0

    @property
    def compares(self) -> bool:
        """Whether a full step's forecast is held against the truth."""
        return self.config.watched or self.repays

    def repayment(self) -> float:
        """The share of a full step's error that is taken back from it: the forecasts since the last full step erred as its would have."""
        return self.config.repayment * self.errors.debt(self.moment) if self.repays else 0.0

    def computed_share(self) -> float:
        """Share of a forecast's error that stays in what is computed between full steps; 1 where nothing is."""
        return 1.0

    def learn(self) -> float | Number | None:
        found, self.found = self.found, []
        if self.config.counted and self.run.together.alone:         # planned by times alone: no error is waited for
            return Number(found) if found else None
        error = self.run.together.largest(max((float(error) for error in found), default=None))
        if error is not None:
            self.errors.measured(error, self.computed_share())
        return error

    def hear(self, error, truth):
        """Errors (B,) of a forecast relative to the prediction `truth` (B, C, ...): the worst picture decides.

        One that is not finite itself is lost and decides nothing; a forecast that is not finite where the truth is must not be used.
        """
        known = torch.isfinite(truth).flatten(1).all(1)
        self.found.append(torch.nan_to_num(error.float(), nan=UNUSABLE).clamp_max(UNUSABLE).where(known, 0.0).amax())

    def said(self, x, output, sigma: float):
        """What a prediction (B, C, ...) says of the noise in x, which changes little from step to step (`output.py`)."""
        return output if self.run.noisy else (x - output) / sigma

    def hear_said(self, error, output, sigma: float):
        """The error (B, C, ...) of a forecast of what was `said` -> that of the prediction."""
        error = error if self.run.noisy else error * -sigma
        region = self.run.region
        inside = region.inside(output) if region is not None and region.fits(output) else None
        relative = rms(error) / rms(output) if inside is None else rms(error * inside) / rms(output * inside).clamp_min(1e-12)
        self.hear(relative, output)
        return error

    def restart(self):
        self.errors.restart()

    def forget(self):
        self.found = []

    def idle(self) -> str:
        return (f"No step could be skipped: the first {self.errors.first_full} and the last are full, and between "
                f"them the error measured was above the tolerance or there was no step to skip")
