"""What saved workflows and other programs rely on: every node's inputs and outputs are those of tests/interface.json.

A change that is meant: compare the new file, whose place the failing test names, and put it in the old one's place. Names, kinds and order
must stay, or saved workflows break.
"""

import json
from pathlib import Path

APPROVED = Path(__file__).parents[1] / "interface.json"
WORDS = ("tooltip", "placeholder", "display_name")                  # which may get better, and are in the locales too
LISTS = ("preset", "sampler_name", "scheduler")                     # saved ones are among them, or they are the host's
NODE = ("output_name", "output", "output_is_list", "output_node", "category", "experimental", "deprecated")


def interface(nodes: dict) -> dict:
    """{node: its outputs and where it is found, and its inputs in order: [name, required or not, kind, options]}."""
    def told(key, kind, spec):
        options = {name: value for name, value in (spec[1] if len(spec) > 1 else {}).items() if name not in WORDS and value is not None}
        choices = spec[0] if isinstance(spec[0], list) else options.get("options", [])
        if key in LISTS or choices == [] or any(str(choice).endswith((".safetensors", ".pt", ".pth")) for choice in choices):
            options.pop("options", None)                            # files that are there
        return [kind, "COMBO" if isinstance(spec[0], list) else spec[0], options]
    return {name: {**{key: info[key] for key in NODE if key in info},
                   "inputs": [[key, *told(key, kind, spec)] for kind in ("required", "optional")
                              for key, spec in info["input"].get(kind, {}).items()]}
            for name, info in sorted(nodes.items())}


def written(nodes: dict) -> str:
    """A line for each input, so that a change is one line."""
    def node(name, told):
        outside = ", ".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in told.items() if key != "inputs")
        inputs = ",\n".join(f"   {json.dumps(one)}" for one in told["inputs"])
        return f' {json.dumps(name)}: {{{outside},\n  "inputs": [\n{inputs}]}}'
    return "{\n" + ",\n".join(node(name, told) for name, told in nodes.items()) + "\n}\n"


def test_what_workflows_rely_on_is_as_approved(our_nodes, tmp_path):
    now, fresh = interface(our_nodes), tmp_path / APPROVED.name
    fresh.write_text(written(now), encoding="utf-8")
    assert APPROVED.is_file(), f"it is not there yet: look at {fresh}"
    assert json.loads(fresh.read_text(encoding="utf-8")) == json.loads(APPROVED.read_text(encoding="utf-8")), f"look at {fresh}"
