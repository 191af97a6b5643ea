# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Backpropagation through time, by hand
#
# The equations of the lecture *Backpropagation through Time, a mathematical overview*, one by one. After each stand
# the lines of `jbptt` that state it, printed from the library's source, and a check against `jax.grad` in float64.
#
# **Row vectors.** The lecture multiplies columns, $z = w\,a$. The library keeps a batch of vectors as rows, so its $w$
# is the lecture's transposed: `z = a w`, and the lecture's $\delta\,a^{\mathsf T}$ is `aᵀ δ`, one product that also
# sums over the batch. Time comes first: `xs [T, B, I]`.
#
# This notebook is made from `bptt_by_hand.py`: `jupytext --to ipynb --execute notebooks/bptt_by_hand.py`.

# %%
import inspect
from functools import partial

import jax
import jax.numpy as jnp

import jbptt
from jbptt.comparison.pair import gradient_errors, leaf_errors
from jbptt.comparison.rows import Sizes, cell_arguments

jax.config.update("jax_enable_x64", True)


def show(*functions):
    """Prints the source of the library's own functions."""
    print("\n\n".join(inspect.getsource(function).rstrip() for function in functions))


def check(name, errors):
    """Prints whether the largest relative error of all gradient leaves is within rounding."""
    print(f"{name}: error <= 1e-12: {max(errors.values()) <= 1e-12}")


def relative_error(got, expected):
    return max(leaf_errors(got, expected).values())


def random(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


# %% [markdown]
# ## 1. What a layer is made of
#
# ### Activations
#
# $$\sigma(z) = \frac{1}{1 + e^{-z}}, \qquad \sigma'(z) = \sigma(z)\,(1 - \sigma(z)), \qquad \tanh'(z) = 1 - \tanh^2(z)$$
#
# Backpropagation meets $f'$ after the forward pass, with $a = f(z)$ at hand. So $f'$ is stated in $a$.

# %%
from jbptt.feedforward import activations

print(next(line for line in inspect.getsource(activations).splitlines() if line.startswith("sigmoid")))
print(next(line for line in inspect.getsource(activations).splitlines() if line.startswith("tanh")))
z = random(0, 7)
for f in (jbptt.sigmoid, jbptt.tanh):
    check(f"{f.name}′", leaf_errors(f.prime(f(z)), jax.vmap(jax.grad(f))(z)))

# %% [markdown]
# ### Costs
#
# $$C = \tfrac12 (y - t)^2, \qquad \nabla_y C = y - t$$
# $$C = -\bigl(t \log y + (1 - t) \log(1 - y)\bigr), \qquad \nabla_y C = \frac{y - t}{y\,(1 - y)}$$
#
# With $y = \sigma(z)$ the cross entropy's denominator is just $\sigma'(z)$, and the two cancel:
#
# $$\nabla_y C \odot \sigma'(z) = y - t .$$
#
# The library fuses them for this reason: the losses take $z$, and neither overflow nor divide.

# %%
from jbptt.feedforward import losses

show(losses._mse, losses._mse_vjp, losses._bce, losses._bce_vjp, losses._softmax_ce, losses._softmax_ce_vjp)
z, t = random(1, 4, 3), jax.nn.sigmoid(random(2, 4, 3))
for loss in (jbptt.mse, jbptt.binary_cross_entropy, jbptt.softmax_cross_entropy):
    check(loss.__name__, gradient_errors(loss, partial(loss, vjp="auto"), z, t))
dz = jax.grad(partial(jbptt.binary_cross_entropy, reduction="sum"))(z, t)
check("∂C/∂z of the binary cross entropy is y − t", leaf_errors(dz, jax.nn.sigmoid(z) - t))

# %% [markdown]
# ## 2. The multilayer perceptron
#
# Layers $l = 1..L$, $a^0 = x$, $y = a^L$:
#
# $$z^l = w^l a^{l-1} + b^l, \qquad a^l = f(z^l)$$
#
# Call $\delta^l = \partial C / \partial z^l$. At the last layer the chain rule goes through $f$ alone; below, $z^l$
# reaches the cost only through $z^{l+1} = w^{l+1} f(z^l) + b^{l+1}$:
#
# $$\delta^L = \nabla_y C \odot f'(z^L), \qquad \delta^l = (w^{l+1})^{\mathsf T} \delta^{l+1} \odot f'(z^l)$$
#
# and since $z^l$ is linear in $w^l$ and $b^l$:
#
# $$\frac{\partial C}{\partial w^l} = \delta^l (a^{l-1})^{\mathsf T}, \qquad \frac{\partial C}{\partial b^l} = \delta^l$$

# %%
from jbptt.feedforward import layer, perceptron

show(layer.affine, perceptron._mlp, perceptron._mlp_bwd, layer.affine_vjp, layer.weight_gradient)
params = jbptt.mlp_init(jax.random.key(3), [5, 8, 6, 2], dtype=jnp.float64)
x = random(4, 10, 5)
mlp = partial(jbptt.mlp, activation=jbptt.sigmoid)
check("mlp", gradient_errors(mlp, partial(mlp, vjp="auto"), params, x))

# %% [markdown]
# ## 3. SISO: one input, one output
#
# ```
#      x                                                y
#      │ U                                              ▲ V
#      ▼                                                │
#     a¹ ───W──▶ a² ───W──▶ a³ ───W──▶  ...  ───W──▶ aᵀ
# ```
#
# $$z^1 = U x, \qquad z^t = W a^{t-1} \;\; (t \ge 2), \qquad a^t = f(z^t), \qquad z^{o} = V a^T, \quad y = f(z^{o})$$
#
# Unrolled, it is a multilayer perceptron whose layers share one matrix $W$. So $\delta$ goes back as it did there,
# and $\partial C/\partial W$ is the sum of what each use of $W$ contributes:
#
# $$\delta^{o} = \nabla_y C \odot f'(z^{o}), \qquad \delta^T = V^{\mathsf T} \delta^{o} \odot f'(z^T), \qquad
#   \delta^t = W^{\mathsf T} \delta^{t+1} \odot f'(z^t)$$
# $$\frac{\partial C}{\partial V} = \delta^{o} (a^T)^{\mathsf T}, \qquad \frac{\partial C}{\partial U} = \delta^1 x^{\mathsf T},
#   \qquad \frac{\partial C}{\partial W} = \sum_{t=2}^{T} \delta^t (a^{t-1})^{\mathsf T}$$
#
# **No weight gradient is needed to go back in time.** The recursion for $\delta$ mentions none. The library's reverse
# scan therefore carries $\delta$ alone, and forms $\sum_t \delta^t (a^{t-1})^{\mathsf T}$ afterwards, as one product
# over all times and the whole batch.

# %%
from jbptt.cells import elman
from jbptt.networks import lecture
from jbptt.recurrence import bptt, forward

show(forward.forward, lecture.siso, lecture._single_input)

# %%
show(bptt._bptt_bwd)

# %% [markdown]
# The engine knows time and no cell; the cell's part is $f'$ for the pointwise half, and the two products with $W$:

# %%
source = inspect.getsource(jbptt.gated_cell)
print(source[source.index("    def way_back") : source.index("    return Cell(")].rstrip())
print()
source = inspect.getsource(elman.rnn_cell.__wrapped__)
print(source[source.index("    def pointwise(") : source.index("    return gated_cell")].rstrip())

# %%
T, B, I, H, O = 6, 3, 4, 5, 2
cell = jbptt.rnn_cell(jbptt.sigmoid)
params = jbptt.network_init(jax.random.key(5), cell, I, H, O, dtype=jnp.float64)
x, xs = random(6, B, I), random(7, T, B, I)


def output(network, *more, vjp="manual"):
    return lambda params, x: network(cell, params, x, *more, activation=jbptt.sigmoid, vjp=vjp)[1]


check("SISO", gradient_errors(output(jbptt.siso, T), output(jbptt.siso, T, vjp="auto"), params, x))

# %% [markdown]
# ## 4. SIMO: one input, an output and a cost at every time
#
# $$z^{o,t} = V a^t, \qquad y^t = f(z^{o,t}), \qquad c = \sum_t c^t(y^t)$$
#
# Now $a^t$ reaches the cost in two ways: at once, through $y^t$, and later, through $z^{t+1} = W a^t$. Both come back:
#
# $$\delta^{o,t} = \nabla_{y^t} c^t \odot f'(z^{o,t}), \qquad \delta^T = V^{\mathsf T} \delta^{o,T} \odot f'(z^T)$$
# $$\delta^t = \bigl(V^{\mathsf T} \delta^{o,t} + W^{\mathsf T} \delta^{t+1}\bigr) \odot f'(z^t), \qquad t = 1..T-1$$
# $$\frac{\partial C}{\partial V} = \sum_t \delta^{o,t} (a^t)^{\mathsf T}, \qquad
#   \frac{\partial C}{\partial W} = \sum_{t \ge 2} \delta^t (a^{t-1})^{\mathsf T}, \qquad
#   \frac{\partial C}{\partial U} = \delta^1 x^{\mathsf T}$$
#
# In the library the two ways are the line `dstate.h + dh` of the reverse scan above: `dh` is $V^{\mathsf T} \delta^{o,t}$,
# which the output layer's backward hands over for all times at once, and `dstate.h` holds $W^{\mathsf T} \delta^{t+1}$.

# %%
show(lecture.simo)
check("SIMO", gradient_errors(output(jbptt.simo, T), output(jbptt.simo, T, vjp="auto"), params, x))

# %% [markdown]
# ## 5. MIMO: an input at every time as well
#
# $$z^t = U x^t + W a^{t-1}, \qquad \frac{\partial C}{\partial U} = \sum_t \delta^t (x^t)^{\mathsf T}$$
#
# and all else as in SIMO. $U x^t$ needs no state: it is one product over all times, an ordinary layer before the
# recurrence, and $\sum_t \delta^t (x^t)^{\mathsf T}$ is that layer's ordinary weight gradient. MISO, many inputs and
# one output, completes the square.

# %%
show(lecture.mimo)
for network in (jbptt.miso, jbptt.mimo):
    check(network.__name__.upper(), gradient_errors(output(network), output(network, vjp="auto"), params, xs))

# %% [markdown]
# ## 6. The LSTM
#
# $$i = \sigma(z_i), \quad f = \sigma(z_f), \quad g = \tanh(z_g), \quad o = \sigma(z_o), \qquad
#   z = U x^t + W h^{t-1} + b$$
# $$c^t = f \odot c^{t-1} + i \odot g, \qquad h^t = o \odot \tanh(c^t)$$
#
# Two things go from step to step, $h$ and $c$, so two gradients come back, $dh$ and $dc$. First the output's way into
# the cell state, since $h^t = o \odot \tanh(c^t)$:
#
# $$dc \leftarrow dc + dh \odot o \odot (1 - \tanh^2 c^t)$$
#
# Then each gate by the product rule, times its own $f'$:
#
# $$\delta_i = dc \odot g \odot i(1-i), \quad \delta_f = dc \odot c^{t-1} \odot f(1-f), \quad
#   \delta_g = dc \odot i \odot (1-g^2), \quad \delta_o = dh \odot \tanh(c^t) \odot o(1-o)$$
#
# and back in time, with $\delta = (\delta_i, \delta_f, \delta_g, \delta_o)$:
#
# $$dc^{t-1} = dc \odot f, \qquad dh^{t-1} = W^{\mathsf T} \delta, \qquad
#   \frac{\partial C}{\partial W} = \sum_t \delta^t (h^{t-1})^{\mathsf T}$$
#
# The cell state's own way back, $dc \odot f$, has no matrix and no $f'$ in it: that is the memory that gradients keep.

# %%
from jbptt.cells import gru, lstm

show(lstm._pointwise, lstm._pointwise_vjp)
arguments = cell_arguments(jbptt.lstm, jax.random.key(8), Sizes(T, B, I, H), jnp.float64)
unroll = partial(jbptt.unroll, jbptt.lstm)
check("LSTM", gradient_errors(unroll, partial(unroll, vjp="auto"), *arguments))

# %% [markdown]
# The GRU goes the same way; its candidate sees $r \odot (W_n h^{t-1} + b_n)$, so δ at the product with $h$ is not δ at
# the input: its third block carries $r$ too.

# %%
show(gru._pointwise_vjp, gru._recurrent_delta)
arguments = cell_arguments(jbptt.gru, jax.random.key(9), Sizes(T, B, I, H), jnp.float64)
unroll = partial(jbptt.unroll, jbptt.gru)
check("GRU", gradient_errors(unroll, partial(unroll, vjp="auto"), *arguments))

# %% [markdown]
# ## 7. The lecture's slips
#
# Five places where its summaries differ from its derivation, and what the numbers say.
#
# **One. The cross entropy lacks its minus sign.** Without it the gradient points up the hill:

# %%
z, t = random(10, 20), jax.nn.sigmoid(random(11, 20))
y = jax.nn.sigmoid(z)
ours = jax.grad(partial(jbptt.binary_cross_entropy, reduction="sum"))(z, t)
slip = jax.grad(lambda z: jnp.sum(t * jnp.log(jax.nn.sigmoid(z)) + (1 - t) * jnp.log(1 - jax.nn.sigmoid(z))))(z)
check("ours is y − t", leaf_errors(ours, y - t))
check("without the minus sign it is t − y", leaf_errors(slip, t - y))

# %% [markdown]
# **Two. `(y t)` stands for `(y − t)`** in the gradient of the squared error: a product for a difference.

# %%
dy = jax.grad(lambda y: jnp.sum((y - t) ** 2 / 2))(y)
check("y − t", leaf_errors(jax.grad(partial(jbptt.mse, reduction="sum"))(y, t), dy))
print(f"y t is off by more than a tenth: {relative_error(y * t, dy) > 0.1}")

# %% [markdown]
# **Three. SIMO writes $z^{o,t} = V a^{o,t}$ for $V a^{1,t}$**: the output layer as a function of its own output. The
# output layer reads the hidden layer; $a^{o,t}$ has $O$ entries, and $V$ takes $H$.

# %%
_, ys = jbptt.simo(cell, params, x, T)
_, hs = jbptt.unroll(cell, params["cell"], x[None])
print(f"V takes {params['V'].shape[0]} entries; the hidden layer has {hs.shape[-1]}, the output {ys.shape[-1]}")
check("z° at t = 1 is V a", leaf_errors(ys[0], hs[0] @ params["V"] + params["c"]))

# %% [markdown]
# **Four. The summaries of SIMO and MIMO write $W^{\mathsf T} \delta^{1,t}$ where the derivation has
# $W^{\mathsf T} \delta^{1,t+1}$.** Read literally, δ at $t$ would need itself; a program that looks there finds nothing
# yet, and no gradient goes back in time at all. Below is the recursion as a loop, for $C = \sum_t \tfrac12 |a^t - s^t|^2$,
# as derived and with the slip; and
#
# **Five. "For $t = 1..T-1$" heads a list that holds $T$.** The last time has no successor: its δ is the direct term
# alone. Leave it out, as the heading says, and the recursion starts from nothing.

# %%
U, W = (random(seed, *shape) / 2 for seed, shape in ((12, (I, H)), (13, (H, H))))
targets = random(14, T, B, H)


def hidden(W):
    a, states = jnp.zeros((B, H)), []
    for x_t in xs:
        a = jnp.tanh(x_t @ U + a @ W)
        states.append(a)
    return states


def gradient_of_W(*, delayed=True, last_included=True):
    """∂C/∂W by the recursion for δ, as derived or with a slip."""
    states = hidden(W)
    dW, later = jnp.zeros((H, H)), [jnp.zeros((B, H))] * (T + 1)
    for t in range(T - 1 if last_included else T - 2, 0, -1):
        direct = states[t] - targets[t]
        back = later[t + 1] if delayed else later[t]
        later[t] = (direct + back @ W.T) * (1 - states[t] ** 2)
        dW = dW + states[t - 1].T @ later[t]
    return dW


expected = jax.grad(lambda W: sum(jnp.sum((a - s) ** 2) / 2 for a, s in zip(hidden(W), targets, strict=True)))(W)
check("as derived", leaf_errors(gradient_of_W(), expected))
for name, slip in (("δ of t for δ of t + 1", {"delayed": False}), ("the last time left out", {"last_included": False})):
    print(f"{name}: off by more than a hundredth: {relative_error(gradient_of_W(**slip), expected) > 0.01}")


def cost(W):
    cell_params = {"U": U, "W": W}
    _, hs = jbptt.unroll(jbptt.rnn, cell_params, xs)
    return jbptt.mse(hs, targets, reduction="sum")


check("jbptt", leaf_errors(jax.grad(cost)(W), expected))

# %% [markdown]
# ## 8. What it is good for
#
# The carry of the reverse scan, read from the program that JAX traces. `jax.grad` carries the weights' gradients from
# step to step and adds a product to each; ours carries $dh$ and $dc$, and the room that δ is written into.


# %%
def reverse_scan(jaxpr):
    """The scan that goes back in time, wherever it stands in a program."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "scan" and equation.params["reverse"]:
            return equation
        for parameter in equation.params.values():
            inner = getattr(parameter, "jaxpr", parameter)
            if hasattr(inner, "eqns") and (found := reverse_scan(inner)) is not None:
                return found
    return None


params, xs, state = cell_arguments(jbptt.lstm, jax.random.key(8), Sizes(T, B, I, H), jnp.float64)
for vjp in ("manual", "auto"):
    gradient = jax.grad(lambda p, vjp=vjp: jnp.sum(jbptt.unroll(jbptt.lstm, p, xs, state, vjp=vjp)[1] ** 2))
    scan = reverse_scan(jax.make_jaxpr(gradient)(params).jaxpr)
    results = {tuple(v.aval.shape) for v in scan.outvars}  # its carry, and what it stacks
    print(f"{vjp}: the way back carries W's shape {(H, 4 * H)}: {(H, 4 * H) in results}")
