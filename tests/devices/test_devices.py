"""The same results on several devices, of one process and of two, as on one."""

import socket
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sobirl as sb
from mdps import random_mdp

PROGRAM = Path(__file__).with_name("several.py")


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, PROGRAM, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def output_of(process):
    out, err = process.communicate(timeout=400)
    assert out.endswith("agrees\n"), err[-3000:]


@pytest.mark.parametrize("devices", [2, pytest.param(8, marks=pytest.mark.slow)])
def test_several_devices_agree_with_one(devices):
    output_of(start(devices, 0, 1))


@pytest.mark.slow
def test_two_processes_agree_with_one():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    processes = [start(1, number, 2, address) for number in range(2)]
    for process in processes:
        output_of(process)


def test_states_that_nobody_enters_change_nothing():
    for operator in ("Dense", "SuccessorList"):
        mdp = random_mdp(0, operator=operator)
        padded = sb.pad_states(mdp, 4)
        states = mdp.shape[0]
        assert padded.shape[0] == 8
        np.testing.assert_allclose(sb.solve(padded).value[:states], sb.solve(mdp).value, rtol=1e-12)
        np.testing.assert_array_equal(padded.transition.push(jnp.ones(padded.shape))[states:], 0)
        assert sb.pad_states(mdp, states) is mdp


def test_what_cannot_be_spread_is_refused():
    mdp = random_mdp(0)
    one = sb.shard_states(mdp)  # the test run has one device
    np.testing.assert_array_equal(one.reward, mdp.reward)
    several = jax.devices() * 2
    with pytest.raises(sb.InvalidInputError, match=r"5 states .* pad_states\(mdp, 2\)"):
        sb.shard_states(mdp, several)
    with pytest.raises(sb.InvalidInputError, match=r"leading axis of \(3,\)"):
        sb.shard_batch(jnp.zeros(3), several)
