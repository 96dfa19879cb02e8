"""What a weights file records of the training that made it, as far as other parts rely on it."""

from __future__ import annotations

import dataclasses

from rdonet_jax.metrics.loss import Loss


@dataclasses.dataclass(frozen=True)
class RecordedTraining:
    """The fields of a training configuration that are read from a weights file again.

    Attributes:
      lmbda, metric, ms_ssim_share: of the loss, see `rdonet_jax.metrics.loss`. The metric may
        be one that this version does not have: only a search needs it.
      learn: "all", or "priors" where the transforms were not trained.
      crop: side of the crops in pixels.
      batch_size: crops per step.
    """

    lmbda: float = 0.0067
    metric: str = "mse"
    ms_ssim_share: float = 0.0
    learn: str = "all"
    crop: int = 256
    batch_size: int = 8

    @property
    def loss(self) -> Loss:
        """What the network was trained for."""
        return Loss(self.lmbda, self.metric, self.ms_ssim_share)
