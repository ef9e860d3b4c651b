"""ToCa Report: what the cache did in the sampling runs before this node, as text, data and a picture."""

from comfy_api.latest import io, ui

from ..toca_core.finite import dumps
from .drawing.canvas import as_images
from .drawing.report import draw_runs, draw_sentence
from .host.run_log import name_of, why_none
from .host.seam import log_of


class ToCaReport(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ToCaReport",
            display_name="ToCa Report",
            category="model/patch",
            description="Says what ToCa Cache did in the sampling runs before this node: which steps were full, partial or plain, the "
                        "errors measured, the share of fresh tokens in every block, the work and time saved, the memory.",
            search_aliases=["statistics", "timeline", "speed-up", "cache report", "benchmark"],
            is_output_node=True,
            inputs=[
                io.Model.Input("model", tooltip="The model that was sampled, with ToCa Cache. Other nodes may stand in between."),
                io.AnyType.Input("after", tooltip="Any result that comes after the sampler, such as its latent or the decoded picture. It "
                                                  "passes through, so that the report waits for the run."),
            ],
            outputs=[
                io.AnyType.Output("result", tooltip="The input after, unchanged."),
                io.String.Output("text", tooltip="The report in words, run by run."),
                io.String.Output("json", tooltip="Every number of the report, step by step, as JSON."),
                io.Image.Output("picture", tooltip="The report as a picture: a panel for each run."),
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt],
        )

    @classmethod
    def execute(cls, model, after, **_) -> io.NodeOutput:
        node, prompt, log = cls.hidden.unique_id, cls.hidden.prompt, log_of(model)
        runs = log.before(node, prompt) if log is not None else []
        reason = log.remark(node, prompt) if log is not None and runs else why_none(log, node, prompt, "after")
        named = [(name_of(logged, prompt), logged.report) for logged in runs]
        text = "\n\n".join([*("\n".join([title, *report.lines()]) for title, report in named), *([reason] if reason else ())])
        picture = as_images([draw_runs(named) if runs else draw_sentence(reason or "")])
        data = dumps({"runs": [{**logged.id.as_dict(), **logged.report.as_dict()} for logged in runs], "reason": reason}, indent=1)
        shown = ui.PreviewImage(as_images([draw_runs(named, words=False)])).as_dict() if runs else {}       # the words are above it
        return io.NodeOutput(after, text, data, picture, ui={**shown, "text": (text,)})
