import jax
import pytest


@pytest.fixture(params=[False, True], ids=["float32", "float64"])
def precision(request):
    """Both settings of JAX: the deep world's and the tabular one's."""
    with jax.enable_x64(request.param):
        yield
