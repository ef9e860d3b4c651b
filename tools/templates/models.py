"""Which tiny model stands for a file, by the file's name."""

import json
import re
from typing import Any

# The first pattern that is found in the name decides.
PATTERNS = (
    (r"qwen_image_layered", "qwen_layered"),
    (r"qwen_image_edit_2511", "qwen_edit_timestep_zero"),
    (r"qwen_image_edit|firered", "qwen_edit"),
    (r"qwen_image", "qwen_image"),
    (r"^pid_", "pid"),
    (r"pixeldit", "pixeldit"),
    (r"z_image", "z_image"),
    (r"wan.*(ti2v|fun_control|fun_inpaint)_5b", "wan22_5b"),
    (r"wan2\.2_fun_camera", "wan22_camera"),
    (r"wan.*fun_camera", "wan_camera"),
    (r"wan.*fun_control", "wan_fun_control"),
    (r"wan.*vace", "wan_vace"),
    (r"wan.*s2v", "wan_s2v"),
    (r"humo", "wan_humo"),
    (r"wan.*scail_2", "wan_scail2"),
    (r"wan.*dancer", "wan_dancer"),
    (r"wan.*animate", "wan_animate"),
    (r"causal_forcing", "wan_causal"),
    (r"wan.*(i2v|flf2v|fun_inp|wanmove)|chrono_edit", "wan_i2v"),
    (r"wan.*(t2v|bernini)", "wan_t2v"),
    (r"flux-?2", "flux2"),
    (r"flux.*kontext", "flux_kontext"),
    (r"flux.*(fill|canny)", "flux_fill"),
    (r"flux.*schnell", "flux_schnell"),
    (r"flux", "flux"),
    (r"chroma-radiance", "chroma_radiance_x0"),
    (r"chroma", "chroma"),
    (r"hidream_e1", "hidream_edit"),
    (r"hidream_o1", "hidream_o1"),
    (r"hidream", "hidream"),
    (r"sd3\.5", "sd3"),
    (r"sd_xl_refiner", "sdxl_refiner"),
    (r"sd_xl", "sdxl"),
    (r"v1-5|dreamshaper", "sd15"),
    (r"lotus", "lotus"),
    (r"svd", "svd"),
    (r"stable-audio-open", "stable_audio"),
    (r"stable_audio_3", "stable_audio3"),
    (r"ace_?step_v?1\.5", "ace_step15"),
    (r"ace_step", "ace_step"),
    (r"ltx-2", "ltx2"),
    (r"ltx", "ltxv"),
    (r"hunyuan_?3d.v2\.1", "hunyuan3d21"),
    (r"hunyuan_?3d", "hunyuan3d"),
    (r"hunyuanvideo1\.5.*_sr_", "hunyuan_video15_upscale"),
    (r"hunyuanvideo1\.5|capybara", "hunyuan_video15"),
    (r"hunyuan_video", "hunyuan_video"),
    (r"kandinsky5.*t2i", "kandinsky5_image"),
    (r"kandinsky5", "kandinsky5"),
    (r"minimax", "minimax"),
    (r"seedvr2", "seedvr2"),
    (r"void_pass", "cogvideo_inpaint"),
    (r"triposplat", "triposplat"),
    (r"boogu", "boogu"),
    (r"ernie", "ernie"),
    (r"ideogram4", "ideogram4"),
    (r"joyai", "joyimage"),
    (r"krea2", "krea2"),
    (r"lens", "lens"),
    (r"longcat", "longcat"),
    (r"mage_flow", "mage_flow"),
    (r"newbie", "newbie"),
    (r"neta", "lumina2"),
    (r"omnigen2", "omnigen2"),
    (r"ovis", "ovis"),
    (r"anima", "anima"),
)


class NoBuilder(LookupError):
    """No tiny model stands for a file; the message names it."""


def known_classes(info: dict[str, Any]) -> dict[str, str]:
    """The class of diffusion model that each builder makes, as the server with the stand-ins has them."""
    return json.loads(info["StandInModel"]["description"])


def builder_of(file: str, known: dict[str, str]) -> str:
    """The name of the builder for a model file."""
    name = next((builder for pattern, builder in PATTERNS if re.search(pattern, file.lower())), None)
    if name not in known:
        raise NoBuilder(f"no tiny model for {file}" + (f" ({name})" if name else ""))
    return name
