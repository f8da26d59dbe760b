"""Networks: convolutions for images, fully connected layers for vectors, one head."""

import math
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, Num

from sobirl.deep.batch_norm import BatchNorm

# Channels, kernel and stride of every convolution.
Convolutions = tuple[tuple[int, int, int], ...]


class Architecture(NamedTuple):
    """What lies between an observation and the head.

    Attributes:
        convolutions: channels, kernel and stride, layer by layer; none for vectors.
        widths: of the fully connected layers.
        activation: after every layer but the head.
        dropout: the share of units that training leaves out after every convolution, or after the
            last layer where there are none.
        normalized: batch normalization of what convolutions give.
        pooled: of every channel of the last convolution only the largest value goes on, so that it
            counts what is to be seen somewhere, and not where.
        inputs: the entries of an observation's last axis that are seen (numbers of a vector,
            channels of a board); None for all.
    """

    convolutions: Convolutions = ()
    widths: tuple[int, ...] = (256, 256)
    activation: Callable = jax.nn.relu
    dropout: float = 0.0
    normalized: bool = False
    pooled: bool = False
    inputs: tuple[int, ...] | None = None


NATURE = Architecture(((32, 8, 4), (64, 4, 2), (64, 3, 1)), (512,))  # Mnih et al. (2015)
MINATAR = Architecture(((16, 3, 1),), (128,))  # Young and Tian (2019)
# The reward network of Yang et al. (2025), after Christiano et al. (2017).
REWARD_CNN = Architecture(
    ((16, 7, 3), (16, 5, 2), (16, 3, 1), (16, 3, 1)), (64,), jax.nn.leaky_relu, 0.5, True
)
_BATCH = "batch"


def architecture_for(shape: tuple[int, ...], widths: tuple[int, ...] = (256, 256)) -> Architecture:
    """The usual architecture for observations of a shape: vectors, MinAtar's boards, or screens."""
    if len(shape) < 3:  # frames of vectors may be stacked
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
        shape: of an observation: (d,), (d,k) for k stacked ones, or (height, width, channels).
        outputs: how many numbers come out.
        key: for the first weights.
        architecture: the layers; `architecture_for(shape)` by default.
        extras: how many further numbers come in, for example a continuous action.
    """

    convolutions: tuple[eqx.nn.Conv2d, ...]
    normalizations: tuple[BatchNorm, ...]
    layers: tuple[eqx.nn.Linear, ...]
    head: eqx.nn.Linear
    activation: Callable = eqx.field(static=True)
    dropout: float = eqx.field(static=True)
    pooled: bool = eqx.field(static=True)
    inputs: tuple[int, ...] | None = eqx.field(static=True)

    def __init__(
        self,
        shape: tuple[int, ...],
        outputs: int,
        key: Key[Array, ""],
        architecture: Architecture | None = None,
        extras: int = 0,
    ):
        architecture = architecture_for(shape) if architecture is None else architecture
        self.inputs = architecture.inputs
        if self.inputs is not None:
            shape = (*shape[:-1], len(self.inputs))
        depth = len(architecture.convolutions)
        keys = iter(jax.random.split(key, depth + len(architecture.widths) + 1))
        convolutions, side, channels = [], shape[:2], shape[-1]
        for width, kernel, stride in architecture.convolutions:
            convolutions.append(eqx.nn.Conv2d(channels, width, kernel, stride, key=next(keys)))
            side = tuple((length - kernel) // stride + 1 for length in side)
            channels = width
        if architecture.pooled:
            side = ()
        width = channels * math.prod(side) if convolutions else math.prod(shape)
        layers, width = [], width + extras
        for wider in architecture.widths:
            layers.append(eqx.nn.Linear(width, wider, key=next(keys)))
            width = wider
        self.convolutions, self.layers = tuple(convolutions), tuple(layers)
        normalized = architecture.convolutions if architecture.normalized else ()
        self.normalizations = tuple(BatchNorm(channels) for channels, _, _ in normalized)
        self.head = eqx.nn.Linear(width, outputs, key=next(keys))
        self.activation, self.dropout = architecture.activation, architecture.dropout
        self.pooled = architecture.pooled and bool(convolutions)

    def __call__(
        self,
        observation: Num[Array, "*obs"],
        extra: Float[Array, "d"] | None = None,
        key: Key[Array, ""] | None = None,
    ) -> Float[Array, "outputs"]:
        """The outputs.

        With a key as training wants them: some units are left out, and a batch is normalized by its
        own statistics, not by those that were collected; it then belongs inside `batched`.
        """
        return self._outputs(observation, extra, key)[0]

    def batched(
        self,
        observation: Num[Array, "B *obs"],
        extra: Float[Array, "B d"] | None = None,
        key: Key[Array, ""] | None = None,
    ) -> Float[Array, "B outputs"]:
        """The outputs for a batch of observations; see `__call__` for the key."""
        return self.trained(observation, extra, key)[0]

    def trained(
        self,
        observation: Num[Array, "B *obs"],
        extra: Float[Array, "B d"] | None = None,
        key: Key[Array, ""] | None = None,
    ) -> tuple[Float[Array, "B outputs"], "Network"]:
        """The outputs of `batched`, and the network whose statistics have moved to the batch's.

        They are those that the outputs were made with, dropout included; without a key they stay.
        """
        keys = None if key is None else jax.random.split(key, len(observation))
        outputs, normalizations = jax.vmap(self._outputs, axis_name=_BATCH, out_axes=(0, None))(
            observation, extra, keys
        )
        return outputs, eqx.tree_at(lambda network: network.normalizations, self, normalizations)

    def _outputs(self, observation, extra, key):
        """The outputs, and normalizations that have seen the batch."""
        hidden, normalizations = self._convolved(observation, key)
        hidden = jnp.max(hidden, axis=(0, 1)) if self.pooled else hidden.ravel()
        hidden = hidden if extra is None else jnp.concatenate([hidden, extra])
        for layer in self.layers:
            hidden = self.activation(layer(hidden))
        if not self.convolutions:
            hidden = self._dropped(hidden, key)
        return self.head(hidden), normalizations

    def _convolved(self, observation, key):
        """What the convolutions make of an observation, and normalizations that have seen it."""
        hidden, normalizations = scaled(observation), list(self.normalizations)
        if self.inputs is not None:
            hidden = hidden[..., np.array(self.inputs)]
        axis = None if key is None else _BATCH
        for number, layer in enumerate(self.convolutions):
            hidden = convolve(layer, hidden)
            if self.normalizations:
                normalize = self.normalizations[number]
                if axis is not None:
                    normalizations[number] = normalize.update_statistics(hidden, axis)
                hidden = normalize(hidden, axis)
            layer_key = None if key is None else jax.random.fold_in(key, number)
            hidden = self._dropped(self.activation(hidden), layer_key)
        return hidden, tuple(normalizations)

    def _dropped(self, hidden, key):
        if key is None or not self.dropout:
            return hidden
        return eqx.nn.Dropout(self.dropout)(hidden, key=key)


def convolve(layer: eqx.nn.Conv2d, image: Float[Array, "H W C"]) -> Float[Array, "I J D"]:
    """What the layer gives, channels last; on CPUs as a product of matrices.

    XLA's own convolutions are over ten times slower inside a loop on CPUs, and all learning is.
    With channels last a row of a patch lies in one piece, of which as much is copied at a time as
    there is in a stride, and one product serves a whole batch.
    """
    if jax.default_backend() != "cpu":
        return jnp.moveaxis(layer(jnp.moveaxis(image, -1, 0)), 0, -1)
    kernel, stride = layer.kernel_size[0], layer.stride[0]
    height, width = ((length - kernel) // stride + 1 for length in image.shape[:2])
    blocks = -(-kernel // stride)  # as wide as a stride, that a patch's row has; the last cut off
    wide = stride * (width - 1 + blocks)
    image = image[:, :wide]
    image = jnp.pad(image, ((0, 0), (0, wide - image.shape[1]), (0, 0)))
    image = image.reshape(len(image), wide // stride, -1)
    channels = layer.in_channels
    pieces = [
        image[row : row + stride * (height - 1) + 1 : stride, at : at + width, :size]
        for row in range(kernel)
        for at in range(blocks)
        for size in [channels * min(stride, kernel - stride * at)]
    ]
    patches = jnp.concatenate(pieces, axis=-1)
    weight = jnp.transpose(layer.weight, (2, 3, 1, 0)).reshape(-1, layer.out_channels)
    products = patches.reshape(height * width, -1) @ weight
    if layer.bias is not None:
        products += layer.bias.ravel()
    return products.reshape(height, width, -1)


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
        return self.trained(observation, extra, key)[0]

    def trained(
        self,
        observation: Num[Array, "B *obs"],
        extra: Float[Array, "B d"] | None = None,
        key: Key[Array, ""] | None = None,
    ) -> tuple[Float[Array, "K B outputs"], "Ensemble"]:
        """The outputs, and every member with moved statistics, see `Network.trained`."""
        count = len(self.members)
        keys = [None] * count if key is None else jax.random.split(key, count)
        outputs, members = zip(
            *(
                member.trained(observation, extra, member_key)
                for member, member_key in zip(self.members, keys, strict=True)
            ),
            strict=True,
        )
        return jnp.stack(outputs), eqx.tree_at(lambda ensemble: ensemble.members, self, members)
