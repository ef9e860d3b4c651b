"""Training in tests: so many steps, whatever the machine's speed."""

import itertools
from types import SimpleNamespace

import pytest
import torch


@pytest.fixture
def short_training(monkeypatch):
    """steps -> the minutes to ask for. By a clock on which every step takes a second, and not compiled, which would take minutes."""
    import comfy.model_management

    from demo import training

    monkeypatch.setattr(comfy.model_management, "in_training", False)               # as it was, afterwards
    monkeypatch.setattr(torch, "compile", lambda model: model)
    monkeypatch.setattr(training, "POOL", 1)
    monkeypatch.setattr(training, "time", SimpleNamespace(time=itertools.count(1).__next__))
    return lambda steps: steps / 60
