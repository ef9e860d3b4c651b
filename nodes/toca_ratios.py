"""ToCa Ratios: how many tokens each module recomputes, block by block."""

from comfy_api.latest import io

from ..toca_core.checks import BlockRatios
from .host.block_ratios import parse_block_ratios

Ratios = io.Custom("TOCA_RATIOS")       # as ToCaConfig.block_ratios: ((module, (share in 0..1, ...)), ...)
FLAT = "mlp: 0.16"                      # what ToCa Cache's fresh_ratio and mlp_share give by default


class ToCaRatios(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ToCaRatios",
            display_name="ToCa Ratios",
            category="model/patch",
            description="Shares of fresh tokens for ToCa Cache, block by block: drawn in a chart over the blocks of the model, or written "
                        "as text. They count with preset custom and level module.",
            search_aliases=["per layer", "per block", "fresh ratio", "layer schedule", "token ratio"],
            inputs=[
                io.String.Input("ratios", default=FLAT, multiline=True, optional=True,
                                tooltip="One line per module, such as `mlp: 0.4, 0.3, 0.2`: the share of tokens recomputed in each "
                                        "block, 0 to 1; one number stands for all blocks. The default is the same for every block, and "
                                        "as much in all as ToCa Cache's own. For a model with more or fewer blocks the ratios are "
                                        "resampled."),
            ],
            outputs=[Ratios.Output(display_name="ratios", tooltip="For the input ratios of ToCa Cache; its preset has to be custom.")],
        )

    @classmethod
    def execute(cls, ratios=FLAT, **_) -> io.NodeOutput:
        parsed = parse_block_ratios(ratios, "ratios")
        BlockRatios()("ratios", parsed)
        return io.NodeOutput(parsed)
