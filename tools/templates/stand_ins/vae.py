"""A VAE without weights: it keeps a picture's or a sound's sizes as the real one of a kind of latents would."""

import torch

import comfy.model_management
import comfy.sd


class StandInVAE(comfy.sd.VAE):
    """Encodes to latents of `channels` for a host's latent format, by averaging; decodes by repeating.

    What a node reads off a VAE is there; there is nothing to load.
    """

    def __init__(self, latent_format, channels: int, dimensions: int, bands: int = 0, bands_first: bool = False):
        """bands: of a sound's latents, (B, C, T, bands), or (B, C, bands, T); 0 for pictures and for sounds of one dimension."""
        space, time = latent_format.spacial_downscale_ratio, latent_format.temporal_downscale_ratio
        self.latent_channels, self.latent_dim = channels, dimensions
        self.bands, self.bands_first = bands, bands_first
        self.space, self.time = space, time
        self.downscale_ratio = self.upscale_ratio = space
        self.downscale_index_formula = self.upscale_index_formula = None
        if dimensions == 3:
            self.downscale_ratio = (lambda frames: max(0, (frames + time - 1) // time), space, space)
            self.upscale_ratio = (lambda frames: max(0, frames * time - (time - 1)), space, space)
            self.downscale_index_formula = self.upscale_index_formula = (time, space, space)
        self.output_channels, self.pad_channel_value, self.crop_input = 3, None, True
        self.audio_sample_rate = 44100
        self.vae_dtype = torch.float32
        self.device = self.output_device = comfy.model_management.intermediate_device()
        self.first_stage_model = Sound(bands)
        self.mix = torch.randn(channels, generator=torch.Generator().manual_seed(channels))

    def encode(self, pixel_samples):
        if self.bands or self.latent_dim == 1:
            return self.encode_sound(pixel_samples)
        pixels = (pixel_samples if pixel_samples.ndim == 5 else self.vae_encode_crop_pixels(pixel_samples))[..., :3].movedim(-1, 1).float()
        if self.latent_dim == 3 and pixels.ndim < 5:
            pixels = pixels.movedim(1, 0).unsqueeze(0)
        sizes = [size // self.space for size in pixels.shape[-2:]]
        if self.latent_dim == 3:
            frames = self.downscale_ratio[0](pixels.shape[2])
            small = torch.nn.functional.adaptive_avg_pool3d(pixels, (frames, *sizes))
        else:
            small = torch.nn.functional.adaptive_avg_pool2d(pixels, sizes)
        return self.mixed(small.mean(1, keepdim=True) * 2 - 1)

    def encode_sound(self, waveform):
        """(B, L, channels) -> (B, C, T), with bands where there are some."""
        length = max(1, waveform.shape[1] // max(self.time, 2048))
        small = torch.nn.functional.adaptive_avg_pool1d(waveform.movedim(-1, 1).float(), length).mean(1, keepdim=True)
        if self.bands:
            small = small[..., None].repeat(1, 1, 1, self.bands)
            small = small.movedim(-1, 2) if self.bands_first else small
        return self.mixed(small)

    def mixed(self, small):
        mix = self.mix.view(1, -1, *[1] * (small.ndim - 2)).to(small)
        return small * mix + 0.1 * mix.roll(1, 1)

    def decode(self, samples_in, vae_options={}):
        latent = samples_in.float()
        if self.bands or latent.ndim == 3:
            flat = latent if latent.ndim == 3 else latent.mean(2 if self.bands_first else 3)
            length = flat.shape[2] * max(self.time, 2048)
            return torch.nn.functional.interpolate(flat, length).movedim(1, -1)[..., :2]
        if latent.ndim == 5 and self.latent_dim == 2:
            latent = latent[:, :, 0]
        sizes = [size * self.space for size in latent.shape[-2:]]
        if latent.ndim == 5:
            sizes = [self.upscale_ratio[0](latent.shape[2]), *sizes]
        pixels = torch.nn.functional.interpolate(latent, sizes).sigmoid()
        return pixels.repeat(1, 3, *[1] * (pixels.ndim - 2))[:, :3].movedim(1, -1)

    def encode_tiled(self, pixel_samples, **tiles):
        return self.encode(pixel_samples)

    def decode_tiled(self, samples, **tiles):
        return self.decode(samples)

    def throw_exception_if_invalid(self):
        """There is nothing that could be invalid."""


class Sound:
    """What nodes ask the inner model of a VAE for sounds."""

    output_sample_rate = 44100

    def __init__(self, bands: int):
        self.latent_frequency_bins = bands

    def num_of_latents_from_frames(self, frames: int, rate: float) -> int:
        return max(1, round(frames / rate * 25))
