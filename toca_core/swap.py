"""The scoped swap: other forwards on modules for the length of a call, and no trace afterwards."""

from contextlib import contextmanager

MISSING = object()


@contextmanager
def swapped(replacements):
    """Give each (module, forward) its forward for the length of the block.

    What a module had before, its class's forward or one set on the instance by someone else, is back afterwards
    whatever happens inside.
    """
    before = []
    try:
        for module, forward in replacements:
            before.append((module, module.__dict__.get("forward", MISSING)))
            module.__dict__["forward"] = forward
        yield
    finally:
        for module, previous in reversed(before):
            if previous is MISSING:
                del module.__dict__["forward"]
            else:
                module.__dict__["forward"] = previous


@contextmanager
def overheard(owner, paths):
    """What the modules at these paths of an owner return for the length of the block, the last of each: path -> result."""
    found: dict = {}

    def listening(path, forward):
        def run(*args, **kwargs):
            found[path] = forward(*args, **kwargs)
            return found[path]
        return run

    with swapped([(module, listening(path, module.forward)) for path, module in ((path, owner.get_submodule(path)) for path in paths)]):
        yield found
