"""A pack of nodes that stand in for what templates load; only `run.py templates` has it loaded, and no user ever sees it."""


async def comfy_entrypoint():
    """Called by the host; imports here, so that the rest of the tool needs no host for it."""
    from comfy_api.latest import ComfyExtension

    from tools.templates.stand_ins.nodes import NODES

    class StandIns(ComfyExtension):
        async def get_node_list(self):
            return NODES

    return StandIns()
