"""Saved workflows become the prompts that the front end would have sent."""

import pytest

from tools.workflow import WorkflowError, to_prompt

OBJECT_INFO = {
    "Load": {"input": {"required": {"name": [["a.safetensors", "b.safetensors"]]}}},
    "Encode": {"input": {"required": {"text": ["STRING", {"multiline": True}], "clip": ["CLIP"]}}},
    "Sample": {
        "input": {
            "required": {"cfg": ["FLOAT", {}], "model": ["MODEL"], "seed": ["INT", {}], "steps": ["INT", {"default": 20}]},
            "optional": {"strength": ["FLOAT", {"forceInput": True}], "tiled": ["BOOLEAN", {"default": False}]},
        },
        "input_order": {"required": ["model", "seed", "steps", "cfg"], "optional": ["strength", "tiled"]},
    },
    "Patch": {"input": {"required": {"model": ["MODEL"], "mask": ["MASK"], "scale": ["FLOAT", {}]}}},
    "Save": {"input": {"required": {"model": ["MODEL"]}}},
    "Resize": {
        "input": {
            "required": {
                "mode": [
                    "COMFY_DYNAMICCOMBO_V3",
                    {
                        "options": [
                            {"key": "factor", "inputs": {"required": {"factor": ["FLOAT", {}]}}},
                            {"key": "size", "inputs": {"required": {"width": ["INT", {}], "height": ["INT", {}]}}},
                        ]
                    },
                ],
                "method": ["COMBO", {"options": ["area", "nearest"]}],
            }
        }
    },
    "Curve": {"input": {"required": {"points": ["CURVE", {}], "panel": ["TOCA_PANEL", {}], "after": ["INT", {}]}}},
}


def node(id, type, values=(), inputs=(), outputs=(), mode=0):
    """inputs: (name, type, link id); outputs: types."""
    return {
        "id": id,
        "type": type,
        "mode": mode,
        "widgets_values": list(values),
        "inputs": [{"name": name, "type": kind, "link": link} for name, kind, link in inputs],
        "outputs": [{"name": kind, "type": kind} for kind in outputs],
    }


def convert(*nodes, links=()):
    return to_prompt({"version": 0.4, "nodes": list(nodes), "links": list(links)}, OBJECT_INFO)


def test_widgets_follow_the_input_order_and_the_seed_has_a_companion():
    prompt = convert(node(3, "Sample", [42, "randomize", 20, 7.5, True]))
    assert prompt == {"3": {"class_type": "Sample", "inputs": {"seed": 42, "steps": 20, "cfg": 7.5, "tiled": True}}}


def test_a_seed_without_a_companion_is_read_too():
    assert convert(node(3, "Sample", [42, 20, 7.5, True]))["3"]["inputs"] == {"seed": 42, "steps": 20, "cfg": 7.5, "tiled": True}


def test_an_input_newer_than_the_workflow_gets_its_default():
    assert convert(node(3, "Sample", [42, "fixed", 8, 7.5]))["3"]["inputs"]["tiled"] is False


def test_a_linked_widget_takes_the_link():
    sample = node(2, "Sample", [42, "fixed", 20, 7.5, True], inputs=[("model", "MODEL", 1), ("steps", "INT", 2)])
    load = node(1, "Load", ["b.safetensors"], outputs=["MODEL", "INT"])
    prompt = convert(load, sample, links=[[1, 1, 0, 2, 0, "MODEL"], [2, 1, 1, 2, 1, "INT"]])
    assert prompt["1"]["inputs"] == {"name": "b.safetensors"}
    assert prompt["2"]["inputs"] == {"model": ["1", 0], "seed": 42, "steps": ["1", 1], "cfg": 7.5, "tiled": True}


def test_both_link_layouts_mean_the_same():
    nodes = [node(1, "Load", ["a.safetensors"], outputs=["MODEL"]), node(2, "Save", inputs=[("model", "MODEL", 5)])]
    old = to_prompt({"version": 0.4, "nodes": nodes, "links": [[5, 1, 0, 2, 0, "MODEL"]]}, OBJECT_INFO)
    link = {"id": 5, "origin_id": 1, "origin_slot": 0, "target_id": 2, "target_slot": 0, "type": "MODEL"}
    assert to_prompt({"version": 1, "nodes": nodes, "links": [link]}, OBJECT_INFO) == old
    assert old["2"]["inputs"] == {"model": ["1", 0]}


def chain(middle):
    """Load -> middle -> Save."""
    load, save = node(1, "Load", ["a.safetensors"], outputs=["MODEL"]), node(3, "Save", inputs=[("model", "MODEL", 2)])
    return convert(load, middle, save, links=[[1, 1, 0, 2, 0, "MODEL"], [2, 2, 0, 3, 0, "MODEL"]])


def test_a_muted_node_is_dropped_with_its_links():
    prompt = chain(node(2, "Patch", [1.0], [("model", "MODEL", 1)], ["MODEL"], mode=2))
    assert prompt.keys() == {"1", "3"}
    assert prompt["3"]["inputs"] == {}


def test_a_bypassed_node_passes_the_same_place_through():
    prompt = chain(node(2, "Patch", [1.0], [("model", "MODEL", 1), ("mask", "MASK", None)], ["MODEL"], mode=4))
    assert prompt.keys() == {"1", "3"}
    assert prompt["3"]["inputs"] == {"model": ["1", 0]}


def test_a_bypassed_node_passes_the_same_type_through_from_another_place():
    prompt = chain(node(2, "Patch", [1.0], [("mask", "MASK", None), ("model", "MODEL", 1)], ["MODEL"], mode=4))
    assert prompt["3"]["inputs"] == {"model": ["1", 0]}


def test_a_bypassed_node_without_the_type_passes_nothing_through():
    assert chain(node(2, "Patch", [1.0], [("mask", "MASK", 1)], ["MODEL"], mode=4))["3"]["inputs"] == {}


def test_reroutes_and_notes_leave_no_trace():
    assert chain(node(2, "Reroute", [], [("", "*", 1)], ["MODEL"]))["3"]["inputs"] == {"model": ["1", 0]}
    assert convert(node(1, "Note", ["text"]), node(2, "MarkdownNote", ["text"])) == {}


def test_a_primitive_gives_its_value():
    nodes = node(1, "PrimitiveNode", [33, "fixed"], outputs=["INT"]), node(2, "Sample", [42, "fixed", 20, 7.5, True], [("steps", "INT", 1)])
    prompt = convert(*nodes, links=[[1, 1, 0, 2, 0, "INT"]])
    assert prompt.keys() == {"2"}
    assert prompt["2"]["inputs"]["steps"] == 33


@pytest.mark.parametrize(
    "values, inputs",
    [
        (["factor", 2.0, "area"], {"mode": "factor", "mode.factor": 2.0, "method": "area"}),
        (["size", 64, 32, "nearest"], {"mode": "size", "mode.width": 64, "mode.height": 32, "method": "nearest"}),
    ],
)
def test_a_dynamic_choice_brings_its_own_inputs(values, inputs):
    assert convert(node(1, "Resize", values))["1"]["inputs"] == inputs


def test_lists_are_wrapped_and_unknown_types_have_a_widget_only_where_the_node_says_so():
    curve = [[0, 0], [1, 1]]
    plain = node(1, "Curve", [curve, 5])
    assert convert(plain)["1"]["inputs"] == {"points": {"__value__": curve}, "after": 5}
    shown = node(1, "Curve", [curve, "x", 5])
    shown["inputs"] = [{"name": "panel", "type": "TOCA_PANEL", "link": None, "widget": {"name": "panel"}}]
    assert convert(shown)["1"]["inputs"] == {"points": {"__value__": curve}, "panel": "x", "after": 5}


def test_values_saved_by_name_are_read_by_name():
    named = node(1, "Sample") | {"widgets_values": {"steps": 4, "seed": 1, "preview": "ignored"}}
    assert convert(named)["1"]["inputs"] == {"steps": 4, "seed": 1}


def test_an_unknown_node_is_named():
    with pytest.raises(WorkflowError, match="Node 7 is a 'Missing', which this host does not have"):
        convert(node(7, "Missing"))


def test_a_subgraph_is_refused():
    graph = {"id": "b5f1", "name": "Upscale", "nodes": [], "links": []}
    workflow = {"nodes": [node(4, "b5f1")], "links": [], "definitions": {"subgraphs": [graph]}}
    with pytest.raises(WorkflowError, match="Node 4 is the subgraph 'Upscale'"):
        to_prompt(workflow, OBJECT_INFO)
