"""The kernels at their border: what is asked for is what comes, and what does not fit is refused by name."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jbptt.backends.cpu.library import loaded

KERNELS = loaded()
pytestmark = pytest.mark.skipif(isinstance(KERNELS, str), reason=f"no kernels: {KERNELS}")

T, B, I, H = 4, 3, 5, 6
NOTHING, NO_INDICES = np.zeros(0, np.float32), np.zeros(0, np.int32)
ALONE = {"reverse": np.int64(0), "chained": False}
SUMS = ("dU", "dW", "db", "dp")
"""Wanted together, or not."""


def given(kind, seed=0):
    """(arguments, shapes of results) of the forward, by name."""
    G, S, has_c, extra = KERNELS.kinds[kind][:4]
    draw = np.random.default_rng(seed)
    Hp = -(-H // KERNELS.lanes) * KERNELS.lanes
    shapes = {"xs": (T, B, I), "U": (I, G * H), "W": (H, G * H), "b": (G * H,)}
    shapes |= {"p": {"peepholes": (3 * H,), "bn": (H,), "": (0,)}[extra], "h0": (B, H), "c0": (B, H) if has_c else (0,)}
    resets = {"h_reset": (B, H), "c_reset": shapes["c0"], "h_mask": (B, H)}
    drawn = {name: draw.standard_normal(shape, np.float32) for name, shape in (shapes | resets).items()}
    marks = np.array([[1, 3, 1], [3, 1, 1], [1, 5, 0], [1, 3, 0]], np.uint8)
    args = {"xs": drawn["xs"], "indices": NO_INDICES} | {name: drawn[name] for name in shapes}
    args |= {"marks": marks} | {name: drawn[name] for name in resets}
    args |= {"h_stays": np.ones((T, B, H), np.uint8), "c_stays": np.zeros((T, B, H) if has_c else 0, np.uint8)}
    args |= {"stay_rates": np.array([0.0, 0.5], np.float32)}
    outs = {"hs": (T, B, H), "h_last": (B, H), "c_last": shapes["c0"], "saved": (T, B, S * Hp)}
    outs |= {"cs": (T, B, Hp) if has_c else (0,), "scratch": (KERNELS.scratch(kind, "forward", T, B, I, H),)}
    return args, outs


def call(direction, kind, args, outs):
    results = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in outs.values()]
    made = jax.ffi.ffi_call(KERNELS.target(direction), results)(
        *args.values(), kinds=kind, reverse=np.int64(0), chained=False
    )
    return dict(zip(outs, jax.block_until_ready(made), strict=True))


def given_back(kind, seed=1):
    """As `given`, of the backward."""
    args, outs = given(kind)
    came = call("forward", kind, args, outs)
    draw = np.random.default_rng(seed)
    args |= {name: came[name] for name in ("hs", "saved", "cs")}
    cotangents = {"dhs": (T, B, H), "dh_last": (B, H), "dc_last": args["c0"].shape}
    args |= {name: draw.standard_normal(shape, np.float32) for name, shape in cotangents.items()}
    back = {f"d{name}": args[name].shape for name in ("xs", "U", "W", "b", "p", "h0", "c0", "h_reset", "c_reset")}
    return args, back | {"delta": outs["saved"], "scratch": (KERNELS.scratch(kind, "backward", T, B, I, H),)}


MAKERS = {"forward": given, "backward": given_back}


def assert_refused(message, *how):
    with pytest.raises(jax.errors.JaxRuntimeError, match=f"INVALID_ARGUMENT: jbptt: {message}"):
        call(*how)


@pytest.mark.parametrize("direction", MAKERS)
@pytest.mark.parametrize("kind", ["lstm", "gru", "rnn_tanh"])
def test_every_array_of_a_wrong_shape_is_named(direction, kind):
    args, outs = MAKERS[direction](kind)
    call(direction, kind, args, outs)
    longer = {"indices": "xs"}  # there is one of the two
    for name, array in args.items():
        wrong = np.zeros((*array.shape[:-1], array.shape[-1] + 1), array.dtype)
        assert_refused(rf"{longer.get(name, name)} must be .* got \[.*\]", direction, kind, args | {name: wrong}, outs)
        flat = array.reshape(-1, 1, 1, 1) if array.size else np.zeros((1, 1), array.dtype)
        assert_refused(rf"{longer.get(name, name)} must be .* got \[.*\]", direction, kind, args | {name: flat}, outs)
    for name, shape in outs.items():
        wrong = (*shape[:-1], shape[-1] + 1) if name != "scratch" else (17,)
        assert_refused(rf"{name} must .* got \[.*\]", direction, kind, args, outs | {name: wrong})


@pytest.mark.parametrize("direction", MAKERS)
def test_shapes_wanted_and_got_are_told(direction):
    args, outs = MAKERS[direction]("lstm")
    wrong = args | {"U": np.zeros((5, 23), np.float32)}
    assert_refused(r"U must be \[I, G·H\] = \[5, 24\], got \[5, 23\]", direction, "lstm", wrong, outs)
    assert_refused("h0 must be", direction, "lstm", args | {"h0": NOTHING}, outs)
    assert_refused("there is no kernel of kind 'lstn'", direction, "lstn", args, outs)
    assert_refused(
        "h_reset must be .* as marks have resets",
        direction,
        "lstm",
        args | {"h_reset": NOTHING, "c_reset": NOTHING},
        outs,
    )
    assert_refused("T, B, I and H must be at least 1", direction, "lstm", args | {"xs": np.zeros((4, 0, 5), "f")}, outs)


@pytest.mark.parametrize("shape", [(2**31, 1, 0), (2**20, 2**40, 0)])
def test_more_rows_than_the_kernels_count_are_refused(shape):
    args, outs = given("lstm")
    call_of_many = args | {"xs": np.zeros(shape, np.float32)}
    assert_refused(r"T·B must be below 2147479552, got xs", "forward", "lstm", call_of_many, outs)


def test_indices_are_in_the_place_of_xs():
    args, outs = given_back("lstm")
    indices = args | {"xs": NOTHING, "indices": np.zeros((T, B), np.int32)}
    without = outs | {"dxs": (0,)}
    call("backward", "lstm", indices, without)
    assert_refused("dxs must be an array of nothing, as there are indices", "backward", "lstm", indices, outs)
    flat = indices | {"indices": np.zeros(T * B, np.int32)}
    assert_refused(r"indices must be \[T, B\], got \[12\]", "backward", "lstm", flat, without)
    assert_refused("xs must be an array of nothing", "backward", "lstm", indices | {"xs": args["xs"]}, without)


@pytest.mark.parametrize("direction", MAKERS)
def test_arrays_of_two_dtypes_are_refused(direction):
    args, outs = MAKERS[direction]("lstm")
    for name in ("xs", "W", "h0"):
        at = list(args).index(name)
        assert_refused(f"array {at} of", direction, "lstm", args | {name: jnp.bfloat16(args[name])}, outs)
    assert_refused("array 0 of", direction, "lstm", args | {"U": jnp.bfloat16(args["U"])}, outs)


def test_a_weights_gradient_by_itself_is_refused():
    args, outs = given_back("lstm")
    assert_refused("dU and dW must both be wanted", "backward", "lstm", args, outs | {"dU": (0,)})
    none = outs | {"dU": (0,), "dW": (0,)}
    assert_refused("db and dp must be nothing where dU and dW are", "backward", "lstm", args, none)


@pytest.mark.parametrize("kind", KERNELS.kinds if not isinstance(KERNELS, str) else [])
def test_what_is_not_wanted_is_not_there_and_changes_nothing_else(kind):
    args, outs = given_back(kind)
    everything = call("backward", kind, args, outs)
    groups = [("dxs",), SUMS, ("dh0",), ("dc0",), ("dh_reset",), ("dc_reset",), ("dh0", "dc0"), ("db", "dp")]
    groups += [(*SUMS, "dh0", "dc0", "dh_reset", "dc_reset"), ("dxs", "dh0", "dc0", "dh_reset", "dc_reset")]
    groups += [("dxs", *SUMS), tuple(name for name in outs if name not in ("delta", "scratch"))]
    for unwanted in groups:
        of_weights, of_xs = "dW" not in unwanted, "dxs" not in unwanted
        shapes = outs | dict.fromkeys(unwanted, (0,))
        shapes["scratch"] = (KERNELS.scratch(kind, "backward", T, B, I, H, of_weights, of_xs),)
        came = call("backward", kind, args, shapes)
        for name in set(outs) - {"scratch"} - set(unwanted):
            np.testing.assert_array_equal(came[name], everything[name], err_msg=f"{name} without {unwanted}")


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_cotangents_of_nothing_are_zeros(kind):
    args, outs = given_back(kind)
    names = [name for name in ("dhs", "dh_last", "dc_last") if args[name].size]
    for name in names:
        zeros = call("backward", kind, args | {name: np.zeros_like(args[name])}, outs)
        nothing = call("backward", kind, args | {name: NOTHING}, outs)
        for result in set(outs) - {"scratch"}:
            np.testing.assert_array_equal(nothing[result], zeros[result])


@pytest.mark.parametrize("direction", MAKERS)
@pytest.mark.parametrize("kind", ["lstm", "rnn_relu"])
def test_memory_for_one_thread_is_enough(direction, kind):
    args, outs = MAKERS[direction](kind)
    whole = call(direction, kind, args, outs)
    with pytest.raises(jax.errors.JaxRuntimeError, match="scratch must have at least") as refused:
        call(direction, kind, args, outs | {"scratch": (1,)})
    least = int(re.search(r"at least (\d+)", str(refused.value))[1])
    frugal = call(direction, kind, args, outs | {"scratch": (least,)})
    for name in set(outs) - {"scratch"}:
        np.testing.assert_allclose(frugal[name], whole[name], rtol=1e-5, atol=1e-5)
    assert_refused(f"scratch must have at least {least}", direction, kind, args, outs | {"scratch": (least - 1,)})


def call_of_two(direction, all_args, all_outs, *, kinds="lstm gru", chained=True, reverse=0):
    results = [jax.ShapeDtypeStruct(shape, jnp.float32) for outs in all_outs for shape in outs.values()]
    given = [array for args in all_args for array in args.values()]
    function = jax.ffi.ffi_call(KERNELS.target(direction), results)
    return jax.block_until_ready(function(*given, kinds=kinds, reverse=np.int64(reverse), chained=chained))


def test_what_cannot_be_at_once_is_refused():
    args, outs = given("lstm")
    both = ([args, args], [outs, outs])

    def refused(message, *how, **options):
        with pytest.raises(jax.errors.JaxRuntimeError, match=f"INVALID_ARGUMENT: jbptt: {message}"):
            call_of_two(*how, **options)

    refused("xs must be an array of nothing, as they are the hs of", "forward", *both)
    above = args | {"xs": NOTHING, "U": np.zeros((H, 4 * H), np.float32)}
    refused("a recurrence above another must be of one sequence", "forward", [args, above], [outs, outs])
    refused("several recurrences at once must be of one sequence", "forward", *both, kinds="lstm lstm", chained=False)
    refused("array 15 of 15: ", "forward", [args], [outs, outs], kinds="lstm lstm", chained=False)
    refused("there must be 15 arrays, got 30", "forward", *both, kinds="lstm")
    refused("there must be a kind", "forward", *both, kinds="")
    whole = args | {"indices": np.zeros((T, B), np.float32)}
    refused("array 1 of 15: ", "forward", [whole], [outs], kinds="lstm")


def test_scratch_is_in_xlas_memory_figures():
    args, outs = given("lstm")
    size = 2**20
    results = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in (outs | {"scratch": (size,)}).values()]
    forward = jax.ffi.ffi_call(KERNELS.target("forward"), results)
    compiled = jax.jit(lambda *args: forward(*args, kinds="lstm", **ALONE)[0]).lower(*args.values()).compile()
    assert compiled.memory_analysis().temp_size_in_bytes >= 4 * size
