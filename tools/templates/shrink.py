"""Sizes and numbers of steps of a prompt made small, so that a run takes seconds."""

from typing import Any

from tools.templates.graph import Graph

WIDTH, HEIGHT, FRAMES = 128, 96, 9
STEPS, FEWEST = 8, 2            # of a run, and of one that only asks whether the model is accepted
FIXED = {                       # whatever feeds them
    "width": WIDTH, "target_width": WIDTH, "output_width": WIDTH, "custom_width": WIDTH, "longer_edge": WIDTH, "largest_size": WIDTH,
    "height": HEIGHT, "target_height": HEIGHT, "output_height": HEIGHT, "custom_height": HEIGHT,
    "length": FRAMES, "frames_number": FRAMES, "num_frames": FRAMES, "video_frames": FRAMES, "frames": FRAMES, "segment_length": FRAMES,
    "megapixels": WIDTH * HEIGHT / 1e6, "resolution": WIDTH, "batch_size": 1, "seconds": 2.0,
}
AT_MOST = {"duration": 1, "amount": FRAMES, "layers": 2}
PARTS = ("start_at_step", "end_at_step", "step")            # counted in steps of a run


def shrink(graph: Graph, steps: int) -> None:
    """Sizes to a few tokens, and no run to more than so many steps; one that has fewer keeps them."""
    counts = {node: content["inputs"].get("steps") for node, content in graph.prompt.items()}
    for node, content in list(graph.prompt.items()):
        if content["class_type"].startswith("StandIn"):
            continue
        for name, value in list(content["inputs"].items()):
            last = name.rpartition(".")[2]
            if last in FIXED and not isinstance(value, (str, bool)):
                content["inputs"][name] = within(graph.specification(node, name), FIXED[last])
            elif last in AT_MOST and isinstance(value, (int, float)):
                content["inputs"][name] = within(graph.specification(node, name), min(value, AT_MOST[last]))
            elif name == "steps" or name in PARTS:
                of = next((counts[other] for other in graph.upstream([node]) if counts.get(other) is not None), None)
                if of is not None:
                    content["inputs"][name] = scaled(graph, node, name, value, of, steps)


def within(specification: list | None, value: float) -> float:
    """A number that an input takes."""
    limits = specification[1] if specification and len(specification) > 1 else {}
    value = min(max(value, limits.get("min", value)), limits.get("max", value))
    return int(value) if specification and specification[0] == "INT" else value


def scaled(graph: Graph, node: str, name: str, value: Any, of: Any, most: int) -> Any:
    """A count of steps where the run has `most` instead of `of`, known now or, where links feed it, when it runs."""
    if isinstance(value, list) or isinstance(of, list):
        stand_in = f"stand-in steps {node} {name}"
        graph.prompt[stand_in] = {"class_type": "StandInSteps", "inputs": {"value": value, "of": of, "most": most}}
        return [stand_in, 0]
    return in_fewer(value, of, most)


def in_fewer(value: int, of: int, most: int) -> int:
    return value if of <= most else -(-value * most // of)
