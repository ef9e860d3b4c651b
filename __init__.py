"""ToCa for ComfyUI: token-wise feature caching that makes diffusion transformers sample faster."""

WEB_DIRECTORY = "./web"


async def comfy_entrypoint():
    """Called by the host; imports here, so that tests can collect this folder without a host."""
    from .nodes.extension import ToCaExtension
    return ToCaExtension()
