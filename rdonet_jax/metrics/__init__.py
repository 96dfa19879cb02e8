"""Rate and distortion: what training minimizes and what evaluation reports."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rdonet_jax.core import lazy

if TYPE_CHECKING:
    from rdonet_jax.metrics.distortion import (
        bpp,
        from_integers,
        ms_ssim,
        ms_ssim_db,
        mse,
        psnr,
        round_to_8_bit,
        to_8_bit,
    )
    from rdonet_jax.metrics.loss import Loss, rd_loss
else:
    __getattr__, __dir__ = lazy.exports(
        __name__,
        {
            "Loss": "rdonet_jax.metrics.loss:Loss",
            "bpp": "rdonet_jax.metrics.distortion:bpp",
            "from_integers": "rdonet_jax.metrics.distortion:from_integers",
            "ms_ssim": "rdonet_jax.metrics.distortion:ms_ssim",
            "ms_ssim_db": "rdonet_jax.metrics.distortion:ms_ssim_db",
            "mse": "rdonet_jax.metrics.distortion:mse",
            "psnr": "rdonet_jax.metrics.distortion:psnr",
            "rd_loss": "rdonet_jax.metrics.loss:rd_loss",
            "round_to_8_bit": "rdonet_jax.metrics.distortion:round_to_8_bit",
            "to_8_bit": "rdonet_jax.metrics.distortion:to_8_bit",
        },
    )

__all__ = [
    "Loss",
    "bpp",
    "from_integers",
    "ms_ssim",
    "ms_ssim_db",
    "mse",
    "psnr",
    "rd_loss",
    "round_to_8_bit",
    "to_8_bit",
]
