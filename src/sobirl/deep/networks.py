"""Networks: convolutions for images, fully connected layers for vectors, one head."""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, Num

# Channels, kernel and stride of every convolution.
Convolutions = tuple[tuple[int, int, int], ...]


class Architecture(NamedTuple):
    """What lies between an observation and the head.

    Attributes:
        convolutions: channels, kernel and stride, layer by layer; none for vectors.
        widths: of the fully connected layers.
        activation: after every layer but the head.
        dropout: the share of the last layer's units that training leaves out.
    """

    convolutions: Convolutions = ()
    widths: tuple[int, ...] = (256, 256)
    activation: Callable = jax.nn.relu
    dropout: float = 0.0


NATURE = Architecture(((32, 8, 4), (64, 4, 2), (64, 3, 1)), (512,))  # Mnih et al. (2015)
MINATAR = Architecture(((16, 3, 1),), (128,))  # Young and Tian (2019)
# The reward network of Yang et al. (2025), which has batch normalization too.
REWARD_CNN = Architecture(
    ((16, 7, 3), (16, 5, 2), (16, 3, 1), (16, 3, 1)), (64,), jax.nn.leaky_relu, 0.5
)


def architecture_for(shape: tuple[int, ...], widths: tuple[int, ...] = (256, 256)) -> Architecture:
    """The usual architecture for observations of a shape: vectors, MinAtar's boards, or screens."""
    if len(shape) == 1:
        return Architecture(widths=widths)
    return NATURE if min(shape[:2]) >= 36 else MINATAR


def scaled(observation: Num[Array, "..."]) -> Float[Array, "..."]:
    """What a network sees: bytes as numbers from 0 to 1, all else as it is.

    The only place where observations are scaled.
    """
    floating = observation.astype(jnp.result_type(float))
    return floating / 255 if observation.dtype == jnp.uint8 else floating


class Network(eqx.Module):
    """A network from one observation, and perhaps further numbers, to some outputs.

    Args:
        shape: of an observation: (d,), or (height, width, channels).
        outputs: how many numbers come out.
        key: for the first weights.
        architecture: the layers; `architecture_for(shape)` by default.
        extras: how many further numbers come in, for example a continuous action.
    """

    convolutions: tuple[eqx.nn.Conv2d, ...]
    layers: tuple[eqx.nn.Linear, ...]
    head: eqx.nn.Linear
    activation: Callable = eqx.field(static=True)
    dropout: float = eqx.field(static=True)

    def __init__(
        self,
        shape: tuple[int, ...],
        outputs: int,
        key: Key[Array, ""],
        architecture: Architecture | None = None,
        extras: int = 0,
    ):
        architecture = architecture_for(shape) if architecture is None else architecture
        depth = len(architecture.convolutions)
        keys = iter(jax.random.split(key, depth + len(architecture.widths) + 1))
        convolutions, side, channels = [], shape[:2], shape[-1]
        for width, kernel, stride in architecture.convolutions:
            convolutions.append(eqx.nn.Conv2d(channels, width, kernel, stride, key=next(keys)))
            side = tuple((length - kernel) // stride + 1 for length in side)
            channels = width
        width = channels * side[0] * side[1] if convolutions else shape[0]
        layers, width = [], width + extras
        for wider in architecture.widths:
            layers.append(eqx.nn.Linear(width, wider, key=next(keys)))
            width = wider
        self.convolutions, self.layers = tuple(convolutions), tuple(layers)
        self.head = eqx.nn.Linear(width, outputs, key=next(keys))
        self.activation, self.dropout = architecture.activation, architecture.dropout

    def __call__(
        self,
        observation: Num[Array, "*obs"],
        extra: Float[Array, "d"] | None = None,
        key: Key[Array, ""] | None = None,
    ) -> Float[Array, "outputs"]:
        """The outputs; with a key some units are left out, as training with dropout wants it."""
        hidden = scaled(observation)
        if self.convolutions:
            hidden = jnp.moveaxis(hidden, -1, 0)
            for layer in self.convolutions:
                hidden = self.activation(layer(hidden))
        hidden = hidden.ravel()
        hidden = hidden if extra is None else jnp.concatenate([hidden, extra])
        for layer in self.layers:
            hidden = self.activation(layer(hidden))
        if key is not None and self.dropout:
            hidden = eqx.nn.Dropout(self.dropout)(hidden, key=key)
        return self.head(hidden)


class Ensemble(eqx.Module):
    """Several networks side by side, for example the twin critics of SAC.

    One after the other rather than in one `vmap`: batched products of matrices are slow on CPUs.
    """

    members: tuple[Network, ...]

    def __init__(self, count: int, make: Callable[[Key[Array, ""]], Network], key: Key[Array, ""]):
        self.members = tuple(make(member_key) for member_key in jax.random.split(key, count))

    def __call__(
        self,
        observation: Num[Array, "B *obs"],
        extra: Float[Array, "B d"] | None = None,
        key: Key[Array, ""] | None = None,
    ) -> Float[Array, "K B outputs"]:
        """The outputs of every member for a batch of observations."""
        outputs = []
        for number, member in enumerate(self.members):
            keys = None
            if key is not None:
                keys = jax.random.split(jax.random.fold_in(key, number), len(observation))
            outputs.append(jax.vmap(member)(observation, extra, keys))
        return jnp.stack(outputs)
