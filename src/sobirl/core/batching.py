"""Batches on a CPU: loops where a batch gains nothing, or hangs."""

from collections.abc import Callable

import jax


def sequential_on_cpu(function: Callable) -> Callable:
    """`function`, whose `vmap` on CPU is a loop and elsewhere an ordinary batch.

    Batched LAPACK calls on a CPU gain nothing over a loop, and two independent ones in the same
    loop body can hang for ever in jaxlib 0.10. In a loop, `while` and `cond` inside `function`
    also stop at each element's own time.
    """
    mapped = jax.custom_batching.custom_vmap(function)

    @mapped.def_vmap
    def rule(axis_size, in_batched, *args):
        leaves, treedef = jax.tree.flatten(args)
        is_batched = jax.tree.leaves(in_batched)

        def over_batch(call, batch):
            batch = iter(batch)
            chosen = [next(batch) if b else x for x, b in zip(leaves, is_batched, strict=True)]
            return call(*jax.tree.unflatten(treedef, chosen))

        batch = [x for x, b in zip(leaves, is_batched, strict=True) if b]
        if default_platform() == "cpu":
            # An outer `vmap` meets `mapped` again in the loop's body, and loops once more.
            out = jax.lax.map(lambda xs: over_batch(mapped, xs), batch)
        else:
            out = jax.vmap(lambda xs: over_batch(function, xs))(batch)
        return out, jax.tree.map(lambda _: True, out)

    return mapped


def default_platform() -> str:
    """Where JAX computes by default. (`lax.platform_dependent` would trace every branch.)"""
    # pyrefly: ignore[missing-attribute]  # made at run time, as every option of JAX
    device = jax.config.jax_default_device
    return getattr(device, "platform", device) or jax.default_backend()
