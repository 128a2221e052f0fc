"""The vocabulary of the maths: what every part takes and gives.

.. math::
    \\tilde x, m = \\mathrm{corrupt}(x), \\quad h = \\mathrm{encoder}(\\tilde x), \\quad
    \\mathrm{code} = \\mathrm{bottleneck}(h), \\quad p = \\mathrm{likelihood}(\\mathrm{decoder}(z))

Everything about a loss is in nats per sample: summed over the entries of a row, averaged over the
batch. Positional arguments of a part are sizes, which the wiring passes; keyword-only arguments are
choices, which stand in the spec, so the signature of a part is the schema of its options.
"""

from __future__ import annotations

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from isthmus.errors import SpecError, unknown
from isthmus.spec import Part

if TYPE_CHECKING:
    from isthmus.core.autoencoder import Net
    from isthmus.core.pca import PCA

Shape = tuple[int, ...]


class Finished(tuple[int, ...]):
    """The output shape of a body that already ends where a head would lead, such as a person's own may."""

    __slots__ = ()


P = TypeVar("P")


@dataclass
class Corrupted:
    """What the encoder is shown, and which entries were taken away from it (True), if any were.

    ``asked`` are entries that were replaced without a word, and are all that should come back; ``target`` is what
    should come back instead of the row.
    """

    x: Tensor
    hidden: Tensor | None = None
    asked: Tensor | None = None
    target: Tensor | None = None


@dataclass
class Code:
    """What passes the isthmus: ``z`` (B, *code_shape), its cost ``rate`` (B,) in nats, extras for other parts, and
    ``terms``: nats (B,) that the bottleneck itself adds to the loss, whatever the objective.
    """

    z: Tensor
    rate: Tensor
    aux: dict[str, Tensor] = field(default_factory=dict)
    terms: dict[str, Tensor] = field(default_factory=dict)


class Distribution(ABC):
    """A distribution over x, one per row of the batch."""

    #: The best single guess, like x (B, *shape): the mean, or the likeliest level of a category.
    mean: Tensor
    #: The expectation of the *features* (B, *features_shape): probabilities where x is a level.
    expected: Tensor

    @abstractmethod
    def log_probs(self, x: Tensor, observed: Tensor | None = None) -> Tensor:
        """Nats per entry, like x (B, *shape); 0 where x is not observed."""

    @abstractmethod
    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """One draw, like x."""

    def log_prob(self, x: Tensor, observed: Tensor | None = None) -> Tensor:
        """Nats per row (B,), summed over the observed entries."""
        return self.log_probs(x, observed).flatten(1).sum(1)


@dataclass
class Trace:
    """Everything that one pass through the network made, for objectives, penalties and critics."""

    x: Tensor  # the target, (B, *shape)
    observed: Tensor | None  # True where x is known, like x
    corrupted: Corrupted
    features: Tensor  # what the encoder was shown
    h: Tensor
    code: Code
    p: Distribution
    prior: Prior
    decode: Any  # z → Distribution, for parts that decode again
    encoder: Body  # the bodies, for parts that look at their weights
    decoder: Body
    residual: Any  # an expectation (B, *features_shape) → what the target's features are beyond it, 0 if not observed
    encode: Any  # features → Code
    likelihood: Likelihood  # for parts that look at rows as networks see them
    squared_jacobian: Any = None  # () → ‖∂z/∂features‖²_F (B,) in closed form, or None where there is none
    condition: Tensor | None = None
    progress: float = 1.0  # the fraction of the training that is done


@dataclass
class Surprise:
    """How strange rows are: ``score`` (B,), higher is stranger; ``entries`` (B, *shape), what each entry of x brings to
    it; and ``rest`` (B,), what belongs to no entry. The last two add up to the first. ``expected`` (B, *shape) is what
    x was held against, where that is not what the network makes of it.
    """

    score: Tensor
    entries: Tensor
    rest: Tensor
    expected: Tensor | None = None

    @classmethod
    def cat(cls, parts: Sequence[Surprise]) -> Surprise:
        """Surprises of batches, one after the other."""
        return cls(*(torch.cat([getattr(part, name) for part in parts]) for name in ("score", "entries", "rest")))


@dataclass
class Losses:
    """One scalar per parameter group, and what they were made of, for people.

    ``gradients`` holds, for groups whose gradient was derived by hand, the function that writes it into
    the parameters' ``grad``; the others go through the tape.
    """

    groups: dict[str, Tensor]
    terms: dict[str, Tensor]
    gradients: dict[str, Callable[[Sequence[nn.Parameter]], None]] = field(default_factory=dict)

    def backward(self, group: str, parameters: Sequence[nn.Parameter]) -> None:
        """Write the gradient of this group's loss into its parameters, and into no others."""
        if group in self.gradients:
            self.gradients[group](parameters)
        else:
            for p in parameters:
                if p.grad is not None:
                    p.grad.zero_()
            self.groups[group].backward(inputs=list(parameters))


class Piece(nn.Module, ABC):
    """What a part may do beside its own job: begin on real rows, and keep its weights on a surface.

    The wiring calls these of every part that overrides them; most parts have no use for them.
    """

    def start_from(self, trace: Trace) -> None:
        """Begin from some training rows (a codebook, a centre), off the tape, once, before the first step."""

    def project_gradient(self) -> None:
        """Before every step: take out of the gradient what would leave the surface."""

    def project(self) -> None:
        """After every step: put the weights back onto the surface, or learn what no gradient teaches."""


class Corruption(Piece):
    """x → what the encoder is shown. Acts in training only."""

    #: Does it take entries away? Then the encoder has to be told which.
    hides: ClassVar[bool] = False

    @abstractmethod
    def forward(self, x: Tensor, observed: Tensor | None) -> Corrupted: ...


class Body(Piece):
    """A network without heads: (B, *in_shape) → (B, *out_shape).

    ``target_shape`` tells it where the journey goes: an encoder the code's shape, a decoder the data's.
    """

    #: Is an encoder of this kind called with the mask of what is there, ``body(x, visible)``, and leaves out the
    #: rest by itself? Others are told by channels beside their features (``tell_missing``).
    takes_mask: ClassVar[bool] = False
    out_shape: Shape
    #: Is the output the input itself, flattened? Then the head behind it is the whole network of its side.
    passes: ClassVar[bool] = False
    #: Does an encoder stay where it begins? Then so do the codes, and the decoder alone is trained.
    frozen: bool = False
    #: Does an encoder settle on the training rows themselves, all of them, before the first step (:meth:`remember`)?
    remembers: ClassVar[bool] = False
    #: What it is between its two ends, for people, where a list of its layers would be long. None lists them.
    drawn: str | None = None
    #: Of bodies for pictures of any size: what both sides are multiples of, and how far (in pixels) an output sees
    #: through both bodies. None sees everything, and takes the size that it was built for.
    stride: int = 1
    reach: int | None = None
    #: Does it learn as much from products of bfloat16 numbers, of three digits? Then it does where these are faster.
    coarse: ClassVar[bool] = False
    #: The outputs (or channels) that are linear in the body's input: its linear path. None without one.
    linear: slice | None = None

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor: ...

    def remember(
        self, pca: PCA, rows: Callable[[], Iterable[tuple[Tensor, Tensor | None]]], generator: torch.Generator
    ) -> Tensor:
        """Take in the training rows, which come in pieces as encoders see them, each with which entries are there;
        return what it answers to each of them (n, *out_shape). Of an encoder that ``remembers``.
        """
        raise NotImplementedError

    def start_linear(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Take in what the body itself can hold of ``x → weight x + bias``; the rest is for the head behind it."""
        return weight, bias


class Bottleneck(Piece):
    """h → Code. Owns its heads."""

    #: Does it learn as much from products of bfloat16 numbers, as some bodies do? Others keep float32.
    coarse: ClassVar[bool] = False
    #: Is something other than its size what narrows the code? Then it may have more numbers than a row, and has
    #: by itself this many times as many.
    expansion: ClassVar[float | None] = None
    #: Does the code hold less than the row? Else no code of PCA is its like, and nothing is learned about the codes.
    narrows: ClassVar[bool] = True
    #: Does ``rate`` price the code? Then codes stay near unit size; else the fitted prior prices them.
    rated: ClassVar[bool] = False
    #: Is it drawn from a normal of its own for every row, and may collapse to N(0, I)?
    noisy: ClassVar[bool] = False
    #: An automatic code has as many numbers as PCA needs to explain this share of the variance.
    explains: ClassVar[float] = 0.7
    #: And at least this many.
    at_least: ClassVar[int] = 1
    code_shape: Shape

    @property
    def n_numbers(self) -> int:
        """The numbers of a code that are in use: all, unless the code finds its own size."""
        return size(self.code_shape)

    @abstractmethod
    def forward(self, h: Tensor) -> Code: ...

    def remarks(self) -> list[str]:
        """What people should know of the code once it is trained, one sentence each."""
        # most codes are what they were asked to be
        return []

    @abstractmethod
    def mode(self, h: Tensor) -> Tensor:
        """The code's one deterministic value (B, *code_shape), used everywhere outside training."""

    def settled(self, z: Tensor) -> Tensor:
        """Numbers (B, *code_shape) → the nearest that can be a code: drawn ones, or those between two codes."""
        # most codes may be any numbers
        return z

    def squared_jacobian(self, code: Code) -> Tensor | None:
        """‖∂z/∂h‖²_F of every row (B,) where it has a closed form; else None."""
        return None

    @property
    def starts_linear(self) -> bool:
        """Whether the code can begin as a linear map of the row."""
        return type(self).start_linear is not Bottleneck.start_linear

    def start_linear(self, body: Body, weight: Tensor, bias: Tensor) -> None:
        """Begin as ``z = weight x + bias`` along the body's linear path, with everything else at zero."""
        raise SpecError(f"{type(self).__name__} has no linear start. Say warm_start=None.")


class Likelihood(Piece):
    """Decoder output → Distribution. Owns its heads, and knows what kind of numbers x is made of."""

    features_shape: Shape
    #: Is the expectation the head's output itself?
    direct: bool = False
    #: The linear model that stands beside ours, and what of the rows comes back: both for people.
    linear_model: ClassVar[str] = "PCA"
    spread: ClassVar[str] = "variance"
    #: Does a score count how unusual a code is that has no rate? Not where rows that say little have the usual codes.
    prices_code: ClassVar[bool] = True

    @abstractmethod
    def forward(self, h: Tensor) -> Distribution: ...

    def represent(self, x: Tensor, visible: Tensor | None = None) -> Tensor:
        """What networks are shown of x (B, *features_shape): numbers as they are, levels as one-hot."""
        return x

    def sensible(self, shown: Tensor, x: Tensor) -> Tensor:
        """``shown`` with what noise has made meaningless (half a category) as it is in x."""
        return shown

    def reach(self, mask: Tensor) -> Tensor:
        """A mask over x as a mask over the features."""
        return mask

    def error(self, shown: Tensor, there: Tensor | None, expected: Tensor) -> Tensor:
        """How far an expectation is from the features (B, *features_shape), (B,): what every model is compared by.

        The squared error over what is ``there``, unless another measure is this likelihood's own.
        """
        apart = shown - expected
        return (apart if there is None else apart * there).square().flatten(1).sum(1)

    def start_linear(self, body: Body, weight: Tensor, mean: Tensor) -> None:
        """Begin as ``expected ≈ weight z + mean`` along the body's linear path, features flattened, to first order."""
        raise SpecError(f"{type(self).__name__} has no linear start. Say warm_start=None.")

    @property
    def by_entry(self) -> bool:
        """Whether the error is a sum over entries, each of which is well or badly returned by itself."""
        return type(self).error is Likelihood.error

    @property
    def calibrates(self) -> bool:
        """Whether training leaves anything open, so that :meth:`calibrate` has something to do."""
        return type(self).calibrate is not Likelihood.calibrate

    def calibrate(self, x: Tensor, observed: Tensor | None, mean: Tensor) -> None:
        """Settle what training left open (a noise level), on held-out rows and their reconstructions."""

    def problem(self, x: Tensor) -> str | None:
        """Why x cannot be modelled, in words; None if it can."""
        return None


class Objective(Piece):
    """Trace → named terms, each (B,) nats; their sum is the loss."""

    #: Does it ask for entries that the encoder has seen? Else how well these come back says little.
    asks_for_all: ClassVar[bool] = True

    @abstractmethod
    def forward(self, trace: Trace) -> dict[str, Tensor]: ...


class Penalty(Piece):
    """Trace → nats, (B,) or one scalar for the batch."""

    @abstractmethod
    def forward(self, trace: Trace) -> Tensor: ...


class Prior(Piece):
    """A density over codes: fitted to codes after training, or learned along.

    Built from the code's shape and that of what the encoder sees.
    """

    #: Is it trained with the network? Then a rate is counted against it, and not against N(0, I).
    learned: ClassVar[bool] = False

    def steer(self, n: int) -> None:
        """Once, when the network is built: how many numbers of condition steer it."""

    def renew(self, encode: Callable[[Tensor], Code], condition: Tensor | None) -> None:
        """Before every pass: follow the encoder and the conditions (B, n) of the batch, if the density depends on
        them. Of a learned prior.
        """

    def rate(self, code: Code) -> Tensor:
        """(B,) nats: KL(posterior ‖ prior), or what bounds it from above, without a draw. Of a learned prior."""
        raise NotImplementedError

    @abstractmethod
    def fit(self, z: Tensor) -> None:
        """Fit to codes (n, *code_shape): after training, when the rest of the network is settled."""

    @abstractmethod
    def log_prob(self, z: Tensor) -> Tensor:
        """(B, *code_shape) → (B,) nats."""

    @abstractmethod
    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """(n, *code_shape)."""


class Critic(Piece):
    """A discriminator with its own parameter group: ``persuade`` goes to the main loss, ``judge`` is its own.

    Built from the code's shape and the features'.
    """

    #: Its learning rate, in multiples of the autoencoder's.
    pace: float = 1.0

    @abstractmethod
    def persuade(self, trace: Trace) -> Tensor:
        """(B,) nats that the autoencoder pays for being told apart."""

    @abstractmethod
    def judge(self, trace: Trace) -> Tensor:
        """The critic's own loss, one scalar; gradients reach the critic alone."""


class Detector(Piece):
    """How strange a row is. Built from x's shape and the features'; learns beside the fitted network, and is saved.

    Where it ``learns`` the one loop trains it, with what :meth:`feed` gives it. Then :meth:`settle` takes in what no
    gradient teaches.
    """

    #: Has it weights of its own?
    learns: ClassVar[bool] = False
    #: Does :meth:`fresh` tell how a training row would score if it were new? Then none need be held out for that.
    tells_fresh: ClassVar[bool] = False
    #: Does :meth:`apart` tell the same of what comes in pieces, such as pictures in tiles?
    tells_apart: ClassVar[bool] = False
    #: Which whole each training row is a piece of, (n,); None where each stands for itself.
    wholes: Tensor | None = None
    #: Steps that it is trained for, at which highest learning rate, on how many rows each.
    steps: int = 0
    learning_rate: float = 2e-3
    batch_size: int = 64
    progress: float = 1.0

    def prepare(self) -> None:
        """Bring in what a person named that is not in the rows: before the fit, and not when a file is opened.

        Raises:
            FileError: it cannot be read.
        """

    def feed(self, net: Net, tensors: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """What its training is fed, a row each."""
        raise NotImplementedError

    def losses(self, **batch: Tensor) -> Losses:
        """As a network's, of one group."""
        raise NotImplementedError

    @abstractmethod
    def settle(self, net: Net, tensors: Mapping[str, Tensor], generator: torch.Generator) -> None:
        """Take in the training rows and how usual rows score, once, after the training."""

    def fresh(self, net: Net, tensors: Mapping[str, Tensor], index: Tensor) -> Surprise | None:
        """The surprise of the training rows at ``index`` as rows that it did not learn from would have it, right after
        :meth:`settle`; None where only other rows can tell.
        """
        return None

    def apart(self, net: Net, x: Tensor, wholes: Tensor) -> Surprise:
        """The surprise of pieces as a detector would have it that learned from no piece of the same whole, right after
        :meth:`settle`; ``wholes`` (B,) are numbered as :attr:`wholes` is.
        """
        raise NotImplementedError

    def release(self) -> None:
        """Let go of what only :meth:`fresh` and :meth:`apart` needed."""

    @abstractmethod
    def forward(
        self,
        net: Net,
        x: Tensor,
        observed: Tensor | None = None,
        condition: Tensor | None = None,
        *,
        explain: bool = True,
    ) -> Surprise:
        """The surprise of rows; without ``explain`` the score alone is right."""

    def line(self) -> float | None:
        """Of pictures: the height of ``entries`` that one in a thousand places of usual ones passes; None where no map
        is drawn.
        """
        return None

    # -- what the loop asks of a network --------------------------------------------------------

    def groups(self) -> dict[str, list[nn.Parameter]]:
        return {"main": list(self.parameters())}

    def pace(self, group: str) -> float:
        return 1.0

    def project_gradients(self) -> None:
        """Nothing is kept on a surface."""

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        sized_by_file(self, state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *rest)


def sized_by_file(module: nn.Module, state_dict: Mapping[str, Any], prefix: str) -> None:
    """Give a part buffers as large as the file has them: what was taken in from rows has their sizes."""
    for name, buffer in module._buffers.items():
        if prefix + name in state_dict and buffer is not None:
            module._buffers[name] = torch.empty_like(state_dict[prefix + name], device=buffer.device)


@dataclass(frozen=True)
class Schedule:
    """A scalar option over the *fraction* of training, so that a warm-up cannot outlast it.

    >>> beta = Schedule.of({"start": 0.0, "end": 4.0, "over": 0.5})
    >>> beta.at(0.25), beta.at(0.5), beta.at(1.0)
    (2.0, 4.0, 4.0)
    >>> Schedule.of(3).at(0.1)
    3.0
    """

    start: float
    end: float
    over: float = 1.0

    @classmethod
    def of(cls, said: float | Mapping[str, float] | Schedule) -> Schedule:
        if isinstance(said, Schedule):
            return said
        if isinstance(said, Mapping):
            wrong = set(said) - {"start", "end", "over"}
            if wrong or "start" not in said or "end" not in said:
                raise SpecError(f"A schedule is {{'start': a, 'end': b, 'over': fraction}}; got {dict(said)!r}.")
            schedule = cls(float(said["start"]), float(said["end"]), float(said.get("over", 1.0)))
            if not 0 < schedule.over <= 1:
                raise SpecError(f"A schedule ends within the training: 'over' is in (0, 1], got {schedule.over}.")
            return schedule
        return cls(float(said), float(said))

    def at(self, progress: float) -> float:
        return self.start + (self.end - self.start) * min(progress / self.over, 1.0)

    def __repr__(self) -> str:
        return f"{self.end:g}" if self.start == self.end else f"{self.start:g}→{self.end:g}"


def options_of(part: type) -> dict[str, inspect.Parameter]:
    """The choices of a part: the keyword-only arguments of its constructor."""
    signature = inspect.signature(part)
    return {name: p for name, p in signature.parameters.items() if p.kind is p.KEYWORD_ONLY}


def make(menu: Mapping[str, type[P]], what: str, part: Part, *sizes: Any) -> P:
    """Build the part that a spec names, from its menu; a wrong name or option says what there is."""
    if part.kind not in menu:
        raise unknown(what, part.kind, menu)
    cls = menu[part.kind]
    known = options_of(cls)
    for name in part.options:
        if name not in known:
            raise unknown(f"option of the {what} {part.kind!r}", name, known)
    for name, parameter in known.items():
        if parameter.default is parameter.empty and name not in part.options:
            raise SpecError(f"The {what} {part.kind!r} needs the option {name!r}.")
    try:
        return cls(*sizes, **part.options)
    except (TypeError, ValueError) as error:
        if isinstance(error, SpecError):
            raise
        raise SpecError(f"The {what} {part.kind!r} cannot be built from {dict(part.options)!r}: {error}.") from error


def size(shape: Sequence[int]) -> int:
    """The number of entries."""
    return math.prod(shape)


def one_of(what: str, got: str, known: Sequence[str]) -> str:
    """Check an option that is a word."""
    if got not in known:
        raise unknown(what, got, known)
    return got
