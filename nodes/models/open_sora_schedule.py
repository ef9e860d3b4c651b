"""Open-Sora 1.2's count of frames and latents, and the times its released sampler visits (hpcaitech/Open-Sora v1.2,
`opensora/models/vae/vae.py`, `opensora/schedulers/rf/rectified_flow.py`).

A clip is encoded in chunks of 17 frames, 5 latents each; the frames after the last whole chunk make one latent per four,
the first of them possibly from fewer. One frame is one latent.
"""

CHUNK, CHUNK_LATENTS = 17, 5                                        # frames encoded at a time, and the latents they become
FACTOR = 4                                                          # frames of one latent; zeros before the first ones fill it up


def latent_length(frames: int) -> int:
    """Frames -> latents, as the encoder counts: 1 -> 1, 17 -> 5, 20 -> 6, 51 -> 15."""
    chunks, rest = divmod(frames, CHUNK)
    return chunks * CHUNK_LATENTS + -(-rest // FACTOR)


def frame_count(latents: int) -> int:
    """Latents -> frames: 1 -> 1, 5 -> 17, 6 -> 18, 15 -> 51.

    Whole chunks are certain. r latents after them can stand for 4r-3 to 4r frames; the smallest count is taken, so that one
    latent is a picture and no frame is shown that the encoder only filled up. `latent_length` of the result is `latents`.
    """
    chunks, rest = divmod(latents, CHUNK_LATENTS)
    return chunks * CHUNK + max(0, FACTOR * (rest - 1) + 1)


def time_ratio(height: int, width: int, frames: int) -> float:
    """How much later than uniform the times are: sqrt(pixels / 512^2) sqrt(n). Height and width in pixels.

    n is the number of latents in whole chunks; a clip below one chunk, where the release has 0 and no times, counts all of its latents.
    """
    latents = frames // CHUNK * CHUNK_LATENTS or latent_length(frames)
    return (height * width / 512 ** 2 * latents) ** 0.5


def sampling_times(steps: int, height: int, width: int, frames: int) -> list[float]:
    """The timesteps of a run, 1000 downwards, without the final 0: t' = r t / (1 + (r - 1) t) of t = 1 - i / steps."""
    ratio = time_ratio(height, width, frames)
    uniform = [1 - step / steps for step in range(steps)]
    return [1000 * ratio * t / (1 + (ratio - 1) * t) for t in uniform]
