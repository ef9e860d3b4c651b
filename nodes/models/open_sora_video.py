"""Sizes of Open-Sora 1.2's videos, in pixels, frames and latents (hpcaitech/Open-Sora v1.2, `opensora/datasets/aspect.py`)."""

LATENT_PIXELS = 8
CHUNK, CHUNK_LATENTS = 17, 5                    # the VAE turns every 17 frames into 5 latent frames, and a single frame into one

RESOLUTIONS = ("144p", "240p", "360p", "480p", "720p")
SIZES = {                                       # width:height (the release has height:width) -> (height, width) at each resolution
    "8:3":    ((117, 312), (196, 522), (294, 784), (392, 1046), (588, 1568)),
    "21:9":   ((125, 291), (210, 490), (314, 732), (420, 980), (628, 1466)),
    "25:12":  ((133, 277), (222, 462), (332, 692), (444, 925), (666, 1388)),
    "2:1":    ((135, 270), (226, 452), (340, 680), (452, 904), (678, 1356)),
    "17:9":   ((139, 262), (232, 438), (350, 662), (466, 880), (698, 1318)),
    "50:27":  ((141, 260), (236, 436), (352, 652), (470, 870), (706, 1306)),
    "16:9":   ((144, 256), (240, 426), (360, 640), (480, 854), (720, 1280)),
    "8:5":    ((151, 241), (252, 404), (380, 608), (506, 810), (758, 1212)),
    "3:2":    ((156, 234), (262, 393), (392, 588), (522, 784), (784, 1176)),
    "4:3":    ((166, 221), (276, 368), (416, 554), (554, 738), (832, 1110)),
    "1:1":    ((192, 192), (320, 320), (480, 480), (640, 640), (960, 960)),
    "3:4":    ((221, 165), (370, 278), (554, 416), (740, 555), (1108, 832)),
    "2:3":    ((235, 156), (392, 262), (588, 392), (784, 522), (1176, 784)),
    "9:16":   ((256, 144), (426, 240), (640, 360), (854, 480), (1280, 720)),
    "9:17":   ((263, 139), (440, 232), (660, 350), (880, 466), (1320, 698)),
    "1:2":    ((271, 135), (452, 226), (678, 340), (906, 454), (1358, 680)),
    "12:25":  ((277, 132), (462, 222), (692, 332), (924, 444), (1386, 666)),             # the release calls it 50:27
}


def pixels(resolution: str, aspect_ratio: str) -> tuple[int, int]:
    """-> (height, width)."""
    return SIZES[aspect_ratio][RESOLUTIONS.index(resolution)]


def whole_chunks(frames: int) -> int:
    """The nearest number of frames that the VAE cuts into whole chunks: 1, or a multiple of 17; 2 s at 24 fps are 51."""
    return 1 if frames == 1 else CHUNK * max(1, round(frames / CHUNK))


def latent_size(frames: int, height: int, width: int) -> tuple[int, int, int]:
    """(T, h, w) of 1 or a multiple of 17 frames."""
    return max(1, frames // CHUNK * CHUNK_LATENTS), height // LATENT_PIXELS, width // LATENT_PIXELS
