"""Conditionings for parts of the picture, for parts of the run, several of them, and of several lengths."""

from dataclasses import replace

import torch

import nodes

from tools.matrix.graph import LeftOut, condition


def texts(graph):
    """The graph's prompt and another one; where that is a class, the negative's."""
    [[first, options]] = graph.positive
    return graph.positive, graph.negative if "toca_class_labels" in options else [[other(first), {**options}]]


def other(tensor):
    """What another prompt gives: its tokens turned round."""
    return tensor.flip(1)


def picture(graph):
    """(height, width) in pixels as these nodes count them, eight to a number."""
    return 8 * graph.latent.shape[-2], 8 * graph.latent.shape[-1]


def of_a_picture(graph, subject):
    if len(subject.shape) > 3:
        raise LeftOut("areas are of two dimensions, this latent has three")


def halves(graph):
    """Two prompts, one to the left and one to the right."""
    height, width = picture(graph)
    left, right = texts(graph)
    area = nodes.ConditioningSetArea()
    left, = area.append(left, width // 2, height, 0, 0, 1.0)
    right, = area.append(right, width // 2, height, width // 2, 0, 1.0)
    return nodes.ConditioningCombine().combine(left, right)[0]


@condition("two areas side by side")
def areas(graph, subject):
    of_a_picture(graph, subject)
    return replace(graph, positive=halves(graph))


@condition("areas on a whole prompt")
def areas_on_a_whole(graph, subject):
    of_a_picture(graph, subject)
    return replace(graph, positive=graph.positive + halves(graph))


@condition("areas of one prompt")
def areas_of_one_prompt(graph, subject):
    """They share everything but their place."""
    of_a_picture(graph, subject)
    height, width = picture(graph)
    area = nodes.ConditioningSetArea()
    parts = [area.append(graph.positive, width // 2, height, x, 0, 1.0)[0] for x in (0, width // 2)]
    return replace(graph, positive=parts[0] + parts[1])


def masked(graph, bounds: str):
    height, width = picture(graph)
    left = torch.zeros(1, height, width)
    left[..., :width // 2] = 1
    node, (first, second) = nodes.ConditioningSetMask(), texts(graph)
    first, = node.append(first, left, bounds, 1.0)
    second, = node.append(second, 1 - left, bounds, 1.0)
    return replace(graph, positive=nodes.ConditioningCombine().combine(first, second)[0])


@condition("two masks")
def masks(graph, subject):
    return masked(graph, "default")


@condition("two masks within their bounds")
def masks_within_bounds(graph, subject):
    of_a_picture(graph, subject)
    return masked(graph, "mask bounds")


@condition("two prompts combined")
def combined(graph, subject):
    return replace(graph, positive=nodes.ConditioningCombine().combine(*texts(graph))[0])


@condition("prompts in turn")
def in_turn(graph, subject):
    node, (first, second) = nodes.ConditioningSetTimestepRange(), texts(graph)
    return replace(graph, positive=node.set_range(first, 0.0, 0.5)[0] + node.set_range(second, 0.5, 1.0)[0])


@condition("a prompt for a part of the run")
def for_a_part(graph, subject):
    node, (first, second) = nodes.ConditioningSetTimestepRange(), texts(graph)
    return replace(graph, positive=first + node.set_range(second, 0.2, 0.6)[0])


@condition("texts of two lengths")
def two_lengths(graph, subject):
    [[text, options]] = graph.positive
    if text.shape[1] < 4:
        raise LeftOut("a class has no length")
    return replace(graph, positive=[[text[:, :-2], options]])


@condition("the negative zeroed out")
def zeroed_out(graph, subject):
    return replace(graph, negative=nodes.ConditioningZeroOut().zero_out(graph.positive)[0])
