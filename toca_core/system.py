"""A kind of model: what an entry of the model table says. An entry needs a name, words and classes; all else is optional."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from .config import ToCaConfig
from .costs.account import Sizes
from .families.layout import Layout, SideStack


@dataclass(frozen=True)
class Usual:
    """A system as it was released, for what is said before a model is loaded.

    blocks    of every stack
    sizes     of one call at a usual size, for `conds` conditionings
    words     for that size: "1024 px, one picture"
    """
    blocks: tuple[int, ...]
    sizes: Sizes
    conds: int
    words: str


@dataclass(frozen=True)
class System:
    """
    name        one word, as in documents and reports
    words       for people: "Wan 2.1 and 2.2"
    classes     full names of the diffusion-model classes, each by itself: a subclass that is not named is another model
    stacks      where the blocks are, in the order in which they run (`families`); without them only what the model predicts is cached
    beside      side stacks, skipped with them
    per_token, per_context    as in `families.layout.Layout`
    sizes       (model, latent, context, other arguments) -> Sizes, where the usual reading of a latent is not right
    parts       (model, noise level, shapes of the parts, the host's options) -> `calls.context.Part`s, where some have noise levels of
                their own
    says_picture    (model) -> whether its blocks end in the clean picture, not in the noise or the velocity that nearly all models say
    text_masked     its `attention_mask` is of the text, in attention that reads nothing else
    plain       why such a model is run plainly, in words; empty where it is cached
    paper       published settings by the number of steps, where there are any
    paper_of    whose they are, where nothing was published for this system: the nearest one's, in words
    usual       its released size
    loader      the node that loads it
    notes       for the table in the documents: what comes with it, what is left out
    """
    name: str
    words: str
    classes: tuple[str, ...]
    stacks: tuple = ()
    beside: tuple[SideStack, ...] = ()
    per_token: tuple[str, ...] = ()
    per_context: tuple[str, ...] = ()
    sizes: Callable[..., Sizes] | None = None
    parts: Callable[..., tuple] | None = None
    says_picture: Callable[..., bool] | None = None
    text_masked: bool = False
    plain: str = ""
    paper: Callable[[int], ToCaConfig] | None = None
    paper_of: str = ""
    usual: Usual | None = None
    loader: str = "Load Diffusion Model"
    notes: str = ""

    @cached_property
    def layout(self) -> Layout | None:
        """Where a model of this system keeps what; None where its blocks are not used."""
        if not self.stacks:
            return None
        return Layout(self.name, self.stacks, self.per_token, self.per_context, self.beside)

    @property
    def levels(self) -> tuple[str, ...]:
        """The levels that a model of this system can be cached at, the first one by default with preset custom."""
        if self.plain:
            return ()
        return ("output",) if self.layout is None else self.layout.levels
