"""What the machine could do at most: the rate of a plain matrix product, in the same run."""

import jax
import jax.numpy as jnp

from bpjax.measure.latency import measure_latency


def gemm_gflops(dtype: str = "float32", size: int = 2048) -> float:
    """Rate of `[size, size] @ [size, size]` compiled by XLA, in 10⁹ operations a second."""
    x = jax.random.normal(jax.random.key(0), (size, size)).astype(dtype)
    y = jax.random.normal(jax.random.key(1), (size, size)).astype(dtype)
    product = jax.jit(lambda x, y: jnp.dot(x, y, preferred_element_type=jnp.float32))
    milliseconds = measure_latency({"gemm": lambda: product(x, y)}, rounds=15)["gemm"]
    return 2 * size**3 / milliseconds / 1e6
