"""How alike pictures are. Pure functions of tensors."""

import torch
from torch.nn import functional

IDENTICAL = 99.0                    # dB that an identical picture counts in a mean, in place of infinity
WINDOW, SIGMA = 11, 1.5             # of SSIM's Gaussian, in pixels


def rms(pictures):
    """Root mean square of each picture of (B, ...) -> (B,) float32."""
    return pictures.float().flatten(1).square().mean(1).sqrt()


def psnr(pictures, references, peak: float = 1.0):
    """Peak signal-to-noise ratio of each picture (B, ...) whose values span `peak`, in dB.

    inf where the two are identical, NaN where either holds a value that is not finite.
    """
    error = (pictures - references).square().flatten(1).mean(1)
    return 10 * torch.log10(peak ** 2 / error.masked_fill(error.isinf(), torch.nan))


def ssim(pictures, references):
    """Structural similarity of each picture (B, C, H, W) in 0..1: the mean over all whole windows and channels.

    Wang et al., *Image Quality Assessment: From Error Visibility to Structural Similarity*, 2004, equation 13 with its constants.
    """
    mean_x, mean_y = blurred(pictures), blurred(references)
    var_x, var_y = blurred(pictures.square()) - mean_x.square(), blurred(references.square()) - mean_y.square()
    covariance = blurred(pictures * references) - mean_x * mean_y
    c1, c2 = 0.01 ** 2, 0.03 ** 2
    likeness = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return (likeness / ((mean_x.square() + mean_y.square() + c1) * (var_x + var_y + c2))).flatten(1).mean(1)


def blurred(pictures):
    """Gaussian means of the whole windows of (B, C, H, W) -> (B, C, H - 10, W - 10)."""
    line = torch.exp(-((torch.arange(WINDOW, dtype=pictures.dtype) - WINDOW // 2) / SIGMA).square() / 2)
    line, channels = (line / line.sum()).to(pictures.device), pictures.shape[1]
    across = functional.conv2d(pictures, line.expand(channels, 1, 1, WINDOW), groups=channels)
    return functional.conv2d(across, line[:, None].expand(channels, 1, WINDOW, 1), groups=channels)


def mean_psnr(decibels) -> float:
    """The mean of PSNRs in dB, in which an identical picture counts 99 dB."""
    return torch.as_tensor(decibels).clamp(max=IDENTICAL).mean().item()
