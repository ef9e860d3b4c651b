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
