"""Where and in which precision cached tensors lie: as they are, in fewer bits, in the host's memory."""

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch

FP8, FP8_MAX = torch.float8_e4m3fn, 448.0
PIECES, SMALL, SMALL_PIECE = 256, 1 << 22, {"cpu": 1 << 16}         # pieces of a feature; numbers in one that is worth a kernel's start


@functools.cache
def has_fp8(device: torch.device) -> bool:
    """Whether a device can keep fp8; MPS, for one, cannot."""
    try:
        torch.zeros(1, device=device).to(FP8).float()
    except (RuntimeError, TypeError):
        return False
    return True


def piece(numbers: int, device: str = "") -> int:
    """How many numbers of a feature are compared at once: few of many, so that float32 copies of them take little beside the feature."""
    return min(numbers, max(numbers // PIECES, SMALL_PIECE.get(device, SMALL)))


def pieces(shape, device) -> Iterator[tuple[slice, slice]]:
    """Stretches of the tokens of a feature (B, N, ...), as an index of its first two axes; each lies in one piece of memory."""
    batch, tokens, *rest = shape
    most = piece(math.prod(shape), device.type) // max(1, math.prod(rest))
    if most >= batch * tokens:
        yield slice(None), slice(None)
        return
    for index in range(batch):
        for start in range(0, tokens, max(1, most)):
            yield slice(index, index + 1), slice(start, start + max(1, most))


@dataclass
class Kept:
    """A tensor (B, N, C) in another form.

    scale            of fp8, per token, (B, N, 1) float32
    dtype, device    of the tensor as it was, and will be again
    fetched          its parts on their way back to the device, and the event that tells when they are there, where asked for ahead
    """
    values: torch.Tensor
    scale: torch.Tensor | None
    dtype: torch.dtype
    device: torch.device
    fetched: tuple | None = None

    @property
    def parts(self) -> tuple:
        return self.values, self.scale

    def __getitem__(self, where) -> "Kept":
        """The same of some of its tokens, which share its memory."""
        return Kept(self.values[where], None if self.scale is None else self.scale[where], self.dtype, self.device)

    @property
    def shape(self):
        return self.values.shape

    @property
    def nbytes(self) -> int:
        return sum(part.nbytes for part in self.parts if part is not None)


class Store:
    """Puts features (B, N, C) away and brings them back; with "same" on the model's device they are kept as they came.

    dtype     "same", "bf16" or "fp8" (e4m3 times a scale per token, so that nothing overflows); never more bits than the feature has
    device    "gpu": where the feature is; "cpu": the host's memory, pinned where there is CUDA, which copies on a stream of its own
    """

    def __init__(self, dtype: str = "same", device: str = "gpu"):
        self.dtype, self.offload = dtype, device == "cpu"
        self.streams: dict[torch.device, torch.cuda.Stream] = {}

    def put(self, tensor):
        """-> the tensor itself or a Kept, with the shape, the device and the nbytes of what is kept."""
        values, scale = self.convert(tensor)
        away = self.offload and tensor.device.type != "cpu"
        if values is tensor and not away:
            return tensor
        parts = tuple(part if part is None or not away else self.to_host(part) for part in (values, scale))
        return Kept(*parts, tensor.dtype, tensor.device)

    def get(self, kept):
        """The tensor as it was put, as closely as its form allows; of a Kept, a tensor of its own."""
        if not isinstance(kept, Kept):
            return kept
        self.fetch(kept)
        (values, scale, arrived), kept.fetched = kept.fetched, None
        if arrived is not None:
            current = torch.cuda.current_stream(kept.device)
            current.wait_event(arrived)
            for part in (values, scale):
                if part is not None:
                    part.record_stream(current)                     # which uses memory of the other stream's
        if scale is not None:
            return (values.float() * scale).to(kept.dtype)
        return values.to(kept.dtype)

    def fetch(self, kept):
        """Start bringing a Kept back to its device, so that `get` need not wait for it."""
        if isinstance(kept, Kept) and kept.fetched is None:
            parts = (part if part is None else self.to_device(part, kept.device) for part in kept.parts)
            kept.fetched = *parts, self.stream(kept.device).record_event() if kept.values.is_pinned() else None

    def divided(self, kept, count: int) -> list:
        """A kept tensor in `count` equal parts along the batch, which share its memory."""
        if not isinstance(kept, Kept):
            return list(kept.chunk(count))
        scales = [None] * count if kept.scale is None else kept.scale.chunk(count)
        return [Kept(values, scale, kept.dtype, kept.device) for values, scale in zip(kept.values.chunk(count), scales, strict=True)]

    def joined(self, parts: list):
        """The other way, in memory of its own."""
        if not isinstance(parts[0], Kept):
            return torch.cat(parts)
        if self.offload:                                            # what lies in the host's memory may still be on its way there
            return self.put(torch.cat([self.get(part) for part in parts]))
        scale = None if parts[0].scale is None else torch.cat([part.scale for part in parts])
        return Kept(torch.cat([part.values for part in parts]), scale, parts[0].dtype, parts[0].device)

    def convert(self, tensor):
        """-> (values, scale or None)."""
        if self.dtype == "fp8" and tensor.dtype.itemsize > 1:
            scale = torch.empty(*tensor.shape[:-1], 1, device=tensor.device)
            values = torch.empty(tensor.shape, dtype=FP8, device=tensor.device)
            for where in pieces(tensor.shape, tensor.device):
                part = tensor[where]
                scale[where] = (part.abs().amax(-1, keepdim=True).float() / FP8_MAX).clamp_min(torch.finfo(torch.float32).tiny)
                values[where] = (part.float() / scale[where]).clamp_(-FP8_MAX, FP8_MAX).to(FP8)
            return values, scale
        if self.dtype == "bf16" and tensor.dtype.itemsize > 2:
            return tensor.to(torch.bfloat16), None
        return tensor, None

    def to_host(self, part):
        if part.device.type != "cuda":
            return part.to("cpu")
        stream = self.stream(part.device)
        stream.wait_stream(torch.cuda.current_stream(part.device))
        host = torch.empty(part.shape, dtype=part.dtype, pin_memory=True)
        with torch.cuda.stream(stream):
            host.copy_(part, non_blocking=True)
        part.record_stream(stream)                                  # its memory is not to be used again before the copy is done
        return host

    def to_device(self, part, device):
        if not part.is_pinned():
            return part.to(device)
        with torch.cuda.stream(self.stream(device)):                # after the copies to the host, which went through the same stream
            return part.to(device, non_blocking=True)

    def stream(self, device):
        if device not in self.streams:
            self.streams[device] = torch.cuda.Stream(device)
        return self.streams[device]
