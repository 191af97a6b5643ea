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
# The equations of the lecture *Backpropagation through Time, a mathematical overview*, one by one: where each comes
# from, the lines of `jbptt` that state it (taken from the library's source, never retyped), and a check in float64
# against `jax.grad`, which knows nothing of these equations.
#
# 1. Activations and costs
# 2. The multilayer perceptron
# 3. SISO: one input, one output
# 4. SIMO: one input, an output at every time
# 5. MISO and MIMO: an input at every time
# 6. LSTM, and GRU in brief
# 7. The lecture's slips
# 8. What it is good for: time and memory
#
# **The notation.** $z$ is what goes into an activation, $a = f(z)$ what comes out, $C$ the cost, $\odot$ the product
# entry by entry. One letter does most of the work: $\delta = \partial C / \partial z$. In what is printed, `Wᵀ` is $W$
# transposed and `δ^T` is $\delta$ at the last time, $T$.
#
# **Row vectors.** The lecture's vectors are columns and it writes $z = W a$. The library keeps a batch of vectors as
# the *rows* of a matrix, so its `W` is the lecture's $W$ transposed:
#
# | | the lecture | the library | shape |
# |---|---|---|---|
# | forward | $W a$ | `a @ W` | `[B, H]` |
# | back through $W$ | $W^{\mathsf T} \delta$ | `delta @ W.T` | `[B, H]` |
# | gradient of $W$ | $\delta\, a^{\mathsf T}$ | `a.T @ delta` | `[H, H]` |
#
# The last product sums over the batch by itself. Sequences have time first: `xs [T, B, I]`, for `T` times, a batch of
# `B`, `I` inputs; `H` is the number of hidden units, `O` of outputs.
#
# *This notebook is made from `bptt_by_hand.py` by `python tests/test_notebook.py`, which needs
# `pip install -e '.[test]'`; the tests execute it again and compare.*

# %%
import inspect
import textwrap
from functools import partial
from itertools import pairwise
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
from IPython.display import Markdown, display

import jbptt
from jbptt.backends import scan
from jbptt.backends.protocol import differentiable
from jbptt.cells import elman, gru, lstm_pair
from jbptt.cells.rule import Consts
from jbptt.comparison.pair import gradient_errors, leaf_errors
from jbptt.feedforward import layer, losses, perceptron
from jbptt.networks import lecture
from jbptt.recurrence import plain, step
from jbptt.recurrence.inputs import Inputs, Spec

jax.config.update("jax_enable_x64", True)


def show(function, first="", last=None):
    """Shows a function of the library; or its lines from the one with `first` in it to the one with `last`."""
    lines = textwrap.dedent(inspect.getsource(function)).rstrip().splitlines()
    start = next(n for n, line in enumerate(lines) if first in line)
    stop = len(lines) if last is None else 1 + next(n for n, line in enumerate(lines) if n >= start and last in line)
    code = textwrap.dedent("\n".join(lines[start:stop]))
    display(Markdown(f"```python\n# {function.__module__}\n{code}\n```"))


def error(got, expected):
    """The largest difference, relative to the largest entry, over all arrays of two alike structures."""
    return max(leaf_errors(got, expected).values())


def check(name, got, expected):
    print(f"{name:<52} error <= 1e-12: {error(got, expected) <= 1e-12}")


def check_twins(name, function, *arguments):
    """Manual against auto, by every argument, with random cotangents on every output."""
    errors = gradient_errors(function, partial(function, vjp="auto"), *arguments)
    print(f"{name:<52} error <= 1e-12: {max(errors.values()) <= 1e-12}")


generator = np.random.default_rng(0)


def random(*shape):
    return jnp.asarray(generator.standard_normal(shape))


# %% [markdown]
# ## 1. Activations and costs
#
# ### Activations
#
# $$\sigma(z) = \frac{1}{1 + e^{-z}} \qquad \sigma'(z) = \sigma(z)\,\bigl(1 - \sigma(z)\bigr)
#   \qquad\qquad \tanh'(z) = 1 - \tanh^2(z)$$
#
# Backpropagation comes to $f'(z)$ after the forward pass, when $a = f(z)$ is known. Both derivatives can be read off
# from $a$ alone: $\sigma' = a\,(1 - a)$ and $\tanh' = 1 - a^2$. So the library states $f'$ as a function of $a$, and
# keeps $a$ instead of $z$.

# %%
show(jbptt.sigmoid.prime)
show(jbptt.tanh.prime)
z = random(7)
for f in (jbptt.sigmoid, jbptt.tanh):
    check(f"{f.name}′", f.prime(f(z)), jax.vmap(jax.grad(f))(z))

# %% [markdown]
# ### The squared error
#
# $$C = \tfrac12 (y - t)^2 \qquad \nabla_y C = y - t$$

# %%
show(losses._mse)
show(losses._mse_vjp)
y, t = random(4, 3), random(4, 3)
check("∇_y C = y − t", y - t, jax.grad(lambda y: jnp.sum((y - t) ** 2) / 2)(y))
check_twins("jbptt.mse", jbptt.mse, y, t)

# %% [markdown]
# ### The cross entropy
#
# $$C = -\bigl(t \log y + (1 - t) \log(1 - y)\bigr) \qquad
#   \nabla_y C = -\frac{t}{y} + \frac{1 - t}{1 - y} = \frac{y - t}{y\,(1 - y)}$$
#
# With $y = \sigma(z)$ the denominator is just $\sigma'(z)$, and the two cancel in the $\delta$ of the output layer:
#
# $$\delta = \nabla_y C \odot \sigma'(z) = y - t$$
#
# Softmax with $C = -\sum_k t_k \log y_k$, for $t$ that sum to 1, gives the same. This is why the library's cross
# entropies take $z$, the *logits*: $y - t$ has no quotient that could overflow.

# %%
show(losses._bce)
show(losses._bce_vjp)
z, t = random(4, 3), jax.nn.sigmoid(random(4, 3))
y = jbptt.sigmoid(z)


def cross_entropy(y):
    return -jnp.sum(t * jnp.log(y) + (1 - t) * jnp.log(1 - y))


check("∇_y C = (y − t) / (y (1 − y))", (y - t) / (y * (1 - y)), jax.grad(cross_entropy)(y))
check("∇_y C ⊙ σ′(z) = y − t", y - t, jax.grad(lambda z: cross_entropy(jbptt.sigmoid(z)))(z))
check_twins("jbptt.binary_cross_entropy", jbptt.binary_cross_entropy, z, t)
check_twins("jbptt.softmax_cross_entropy", jbptt.softmax_cross_entropy, z, t)

# %% [markdown]
# ## 2. The multilayer perceptron
#
# Layers $l = 1..L$, with $a^0 = x$ and $y = a^L$:
#
# $$z^l = w^l a^{l-1} + b^l \qquad a^l = f(z^l)$$

# %%
show(layer.affine)
show(perceptron._mlp)

# %% [markdown]
# **The last layer.** $z^L$ reaches the cost through $y = f(z^L)$ only, entry by entry:
#
# $$\delta^L = \nabla_y C \odot f'(z^L)$$
#
# **The others.** $z^l$ reaches the cost through the next layer only, $z^{l+1} = w^{l+1} f(z^l) + b^{l+1}$. The chain
# rule goes back through the matrix, which transposes it, and then through $f$:
#
# $$\delta^l = (w^{l+1})^{\mathsf T} \delta^{l+1} \odot f'(z^l)$$
#
# **The parameters.** $z^l$ is linear in them. Entry $(j, k)$ of $w^l$ multiplies $a^{l-1}_k$ and adds to $z^l_j$, so
# its gradient is $\delta^l_j a^{l-1}_k$:
#
# $$\frac{\partial C}{\partial w^l} = \delta^l (a^{l-1})^{\mathsf T} \qquad \frac{\partial C}{\partial b^l} = \delta^l$$
#
# In the code, `da` is $\partial C / \partial a^l$: first $\nabla_y C$, and from then on
# $(w^{l+1})^{\mathsf T} \delta^{l+1}$, handed down by the layer above.

# %%
show(perceptron._backward)
show(layer.affine_vjp)
show(layer.times_transposed, "return")
show(layer.weight_gradient, "rows =")

# %%
sizes = [5, 8, 6, 2]
params = [{"w": random(i, o), "b": random(o)} for i, o in pairwise(sizes)]
x, t = random(10, 5), random(10, 2)
f = jbptt.sigmoid


def cost_of_mlp(params, x):
    """The lecture's forward, as a plain loop for `jax.grad`."""
    a = x
    for layer_params in params:
        a = f(a @ layer_params["w"] + layer_params["b"])
    return jnp.sum((a - t) ** 2) / 2


def cost_of_ours(params, x):
    return jbptt.mse(jbptt.mlp(params, x, activation=f), t, reduction="sum")


ours, expected = (jax.jit(jax.grad(cost, (0, 1)))(params, x) for cost in (cost_of_ours, cost_of_mlp))
check("∂C/∂w and ∂C/∂b of every layer", ours[0], expected[0])
check("∂C/∂x", ours[1], expected[1])
check_twins("jbptt.mlp", partial(jbptt.mlp, activation=f), params, x)

# %% [markdown]
# ## 3. SISO: one input, one output
#
# Here is the whole family, unrolled in time. SISO has the input at $t = 1$ and the output at $t = T$ only.
#
# ```
#          y¹          y²          y³                y^T         c¹ .. c^T, or the one cost at T
#          ▲           ▲           ▲                  ▲
#          │V          │V          │V                 │V         forward: up, and from left to right
#   a⁰ ─W▶ a¹ ───W───▶ a² ───W───▶ a³ ──▶ ··· ──W───▶ a^T        δ: along the same arrows, backwards
#          ▲           ▲           ▲                  ▲
#          │U          │U          │U                 │U
#          x¹          x²          x³                x^T
#
#   SISO: x¹ and y^T      SIMO: x¹ and every yᵗ      MISO: every xᵗ and y^T      MIMO: every xᵗ and every yᵗ
# ```
#
# $$z^1 = U x \qquad z^t = W a^{t-1} \;\; (t \ge 2) \qquad a^t = f(z^t) \qquad z^{o} = V a^T \qquad y = f(z^{o})$$
#
# The library's `siso` makes one step with the input, then $T - 1$ steps without; all steps are one `lax.scan`'s.

# %%
show(lecture._single_input, "state, first")
show(plain.scanned, "def one_step")
show(lecture.siso, "last, _, _ =")

# %% [markdown]
# **The derivation.** Unrolled, this is a multilayer perceptron, time for layers, whose layers share one matrix $W$. So
# $\delta$ goes back as it did there:
#
# $$\delta^{o} = \nabla_y C \odot f'(z^{o}) \qquad
#   \delta^T = V^{\mathsf T} \delta^{o} \odot f'(z^T) \qquad
#   \delta^t = W^{\mathsf T} \delta^{t+1} \odot f'(z^t) \quad (t < T)$$
#
# **Why $\delta$ comes one step late.** $a^t$ is not used at time $t$; it is used in $z^{t+1} = W a^t$. So what comes
# back to $a^t$ through $W$ comes from the $\delta$ of time $t + 1$.
#
# **The weights.** $W$ is used $T - 1$ times, and each use contributes as a layer's weights did. They add up:
#
# $$\frac{\partial C}{\partial V} = \delta^{o} (a^T)^{\mathsf T} \qquad
#   \frac{\partial C}{\partial U} = \delta^1 x^{\mathsf T} \qquad
#   \frac{\partial C}{\partial W} = \sum_{t=2}^{T} \delta^t (a^{t-1})^{\mathsf T}$$
#
# **No weight gradient is needed to go back in time.** Look at what the recursion for $\delta^t$ asks for:
# $\delta^{t+1}$, $W$ and $f'(z^t)$. No $\partial C / \partial W$ is among them. So the way back carries $\delta$ alone,
# and $\sum_t \delta^t (a^{t-1})^{\mathsf T}$ waits until all of them are there: then it is *one* product, of a matrix
# whose rows are all $a^{t-1}$ with one whose rows are all $\delta^t$.
#
# In the library, time and calculus are kept apart. Time, for any cell (`scan_stacking_late` is `lax.scan`, with an eye
# on where its results lie in memory; `step_vjp` is the cell's own, with the cost at $t$ added to what comes from later,
# and with masks for sequences that end and episodes that begin, of which there are none here):

# %%
show(scan.backward)

# %% [markdown]
# Calculus, for the lecture's cell: `pointwise_vjp` is $\odot\, f'(z^t)$, `step_vjp` goes on through $W^{\mathsf T}$
# (laid out transposed once, before the way back), and `weight_vjp` is the sum, run once after it.

# %%
show(elman.rnn_pair, "def pointwise(", "return RNNState(activation(z))")
show(elman.rnn_pair, "def pointwise_vjp(", "return RNNState(NO_COTANGENT)")
show(jbptt.rnn.rule.prepare_backward)
show(jbptt.rnn.rule.step_vjp)
show(jbptt.rnn.rule.weight_vjp)

# %% [markdown]
# **The check** needs the $\delta$ of every time from `jax.grad`. By definition $\delta^t$ is what the cost does when
# $z^t$ alone is moved; so below stands the lecture's forward as a plain loop with a `shift`, zero, added to every
# $z^t$ and $z^{o,t}$, and $\delta$ is the gradient by the shift. As in the lecture, time counts from 1 (index 0 holds
# $a^0 = 0$), and there are no biases; so "no input" is the input 0.

# %%
T, B, I, H, O = 5, 3, 4, 6, 2
p = {"U": random(I, H), "W": random(H, H), "V": random(H, O)}
targets = jax.nn.sigmoid(random(T, B, O))
xs = random(T + 1, B, I)
first_x_only = xs.at[2:].set(0)
NO_SHIFT = {"z": jnp.zeros((T + 1, B, H)), "zo": jnp.zeros((T + 1, B, O))}


def run(p, xs, shift=NO_SHIFT):
    """Every aᵗ [T+1, B, H] and yᵗ [T+1, B, O]."""
    a, y = [jnp.zeros((B, H))], [jnp.zeros((B, O))]
    for t in range(1, T + 1):
        a.append(f(xs[t] @ p["U"] + a[t - 1] @ p["W"] + shift["z"][t]))
        y.append(f(a[t] @ p["V"] + shift["zo"][t]))
    return jnp.stack(a), jnp.stack(y)


def truth(cost, p, xs):
    """What the network computes, and every δ and gradient of it by jax.grad."""
    a, y = jax.jit(run)(p, xs)
    dp, delta = jax.jit(jax.grad(lambda p, shift: cost(run(p, xs, shift)[1]), (0, 1)))(p, NO_SHIFT)
    return SimpleNamespace(a=a, y=y, dy=jax.grad(cost)(y), dp=dp, delta=delta["z"], delta_o=delta["zo"])


def cost_at_the_end(y):
    return jnp.sum((y[-1] - targets[-1]) ** 2) / 2


now, later = slice(1, T), slice(2, T + 1)  # t = 1..T-1, and the t + 1 of each

# %%
n = truth(cost_at_the_end, p, first_x_only)
check("δ° = ∇_y C ⊙ f′(z°)", n.dy[T] * f.prime(n.y[T]), n.delta_o[T])
check("δ^T = Vᵀ δ° ⊙ f′(z^T)", n.delta_o[T] @ p["V"].T * f.prime(n.a[T]), n.delta[T])
check("δᵗ = Wᵀ δᵗ⁺¹ ⊙ f′(zᵗ), t < T", n.delta[later] @ p["W"].T * f.prime(n.a[now]), n.delta[now])
check("∂C/∂V = δ° (a^T)ᵀ", n.a[T].T @ n.delta_o[T], n.dp["V"])
check("∂C/∂U = δ¹ xᵀ", xs[1].T @ n.delta[1], n.dp["U"])
check("∂C/∂W = Σ_{t≥2} δᵗ (aᵗ⁻¹)ᵀ, in one product", layer.weight_gradient(n.a[now], n.delta[later]), n.dp["W"])

# %% [markdown]
# The equations hold. Now the library: its network of the same weights, against the plain loop, and the hand-derived
# gradient of everything (inputs and initial state too) against `jax.grad` of its own forward.

# %%
cell = jbptt.rnn_cell(f, bias=False)
state = elman.RNNState(random(B, H))


def network_params(p):
    return {"cell": {"U": p["U"], "W": p["W"]}, "V": p["V"]}


def gradient_of_ours(network, cost, p, *x):
    """∂C/∂p by the library."""

    def cost_of(p):
        _, y = network(cell, network_params(p), *x, activation=f)
        return cost(y.reshape(-1, B, O))  # one time or all of them

    return jax.jit(jax.grad(cost_of))(p)


check("siso: ∂C/∂U, ∂C/∂W, ∂C/∂V", gradient_of_ours(jbptt.siso, cost_at_the_end, p, xs[1], T), n.dp)


def siso(params, x, state, vjp="manual"):
    return jbptt.siso(cell, params, x, T, state, activation=f, vjp=vjp)


check_twins("jbptt.siso", siso, network_params(p), xs[1], state)

# %% [markdown]
# ## 4. SIMO: one input, an output and a cost at every time
#
# $$z^{o,t} = V a^t \qquad y^t = f(z^{o,t}) \qquad c = \sum_t c^t(y^t)$$
#
# Now $a^t$ reaches the cost in two ways: at once, through $y^t$; and later, through $z^{t+1} = W a^t$. Where paths part
# on the way forward, gradients add on the way back:
#
# $$\delta^{o,t} = \nabla_{y^t} c^t \odot f'(z^{o,t})$$
# $$\delta^T = V^{\mathsf T} \delta^{o,T} \odot f'(z^T) \qquad
#   \delta^t = \bigl(V^{\mathsf T} \delta^{o,t} + W^{\mathsf T} \delta^{t+1}\bigr) \odot f'(z^t) \quad (t < T)$$
# $$\frac{\partial C}{\partial V} = \sum_t \delta^{o,t} (a^t)^{\mathsf T} \qquad
#   \frac{\partial C}{\partial W} = \sum_{t \ge 2} \delta^t (a^{t-1})^{\mathsf T} \qquad
#   \frac{\partial C}{\partial U} = \delta^1 x^{\mathsf T}$$
#
# In the library, nothing changes but what the output layer is applied to: every $h$ instead of the last one.

# %%
show(lecture.simo, "state, first")

# %% [markdown]
# The two ways meet in one line of the way back. `dh` is $V^{\mathsf T} \delta^{o,t}$, from the output layer's own
# backward (`affine_vjp` above, for all times at once); `later.state.h` is $W^{\mathsf T} \delta^{t+1}$, carried
# from the step after. At $t = T$ nothing has been carried yet: `later.state` starts as the cotangent of the final
# state, which is zero here.

# %%
show(step.step_vjp, "dafter =", "dafter =")


# %%
def cost_at_every_time(y):
    return jnp.sum((y[-T:] - targets) ** 2) / 2


def check_deltas(n):
    direct = n.delta_o @ p["V"].T
    check("δ°ᵗ = ∇c ⊙ f′(z°ᵗ)", (n.dy * f.prime(n.y))[1:], n.delta_o[1:])
    check("δ^T = Vᵀ δ°^T ⊙ f′(z^T)", direct[T] * f.prime(n.a[T]), n.delta[T])
    general = (direct[now] + n.delta[later] @ p["W"].T) * f.prime(n.a[now])
    check("δᵗ = (Vᵀ δ°ᵗ + Wᵀ δᵗ⁺¹) ⊙ f′(zᵗ), t < T", general, n.delta[now])
    check("∂C/∂V = Σ_t δ°ᵗ (aᵗ)ᵀ", layer.weight_gradient(n.a[1:], n.delta_o[1:]), n.dp["V"])
    check("∂C/∂W = Σ_{t≥2} δᵗ (aᵗ⁻¹)ᵀ", layer.weight_gradient(n.a[now], n.delta[later]), n.dp["W"])


n = truth(cost_at_every_time, p, first_x_only)
check_deltas(n)
check("∂C/∂U = δ¹ xᵀ", xs[1].T @ n.delta[1], n.dp["U"])


# %%
def simo(params, x, state, vjp="manual"):
    return jbptt.simo(cell, params, x, T, state, activation=f, vjp=vjp)


check("simo: ∂C/∂U, ∂C/∂W, ∂C/∂V", gradient_of_ours(jbptt.simo, cost_at_every_time, p, xs[1], T), n.dp)
check_twins("jbptt.simo", simo, network_params(p), xs[1], state)

# %% [markdown]
# ## 5. MISO and MIMO: an input at every time
#
# $$z^t = U x^t + W a^{t-1} \qquad \frac{\partial C}{\partial U} = \sum_t \delta^t (x^t)^{\mathsf T}$$
#
# All else is as in SIMO; with the output at $T$ only (MISO, which completes the square) as in SISO.
#
# $U x^t$ waits for no state. So it is an ordinary layer, applied to all times at once before the recurrence begins, and
# after the way back that layer gets its $\delta^t$ of all times at once. The sum for $\partial C / \partial U$ is
# nothing else than the layer's weight gradient.

# %%
show(plain.scanned, "zs =", "zs =")
show(scan.backward, "of_inputs, dxs")
show(jbptt.rnn.rule.project)
show(jbptt.rnn.rule.project_vjp)
show(lecture.miso, "last, _ =")
show(lecture.mimo, "state, hs =")

# %%
n = truth(cost_at_every_time, p, xs)
check_deltas(n)
check("∂C/∂U = Σ_t δᵗ (xᵗ)ᵀ", layer.weight_gradient(xs[1:], n.delta[1:]), n.dp["U"])

# %% [markdown]
# The library's own $\delta^t$ can be looked at too: where the input's product is left out, it is the gradient by the
# inputs.

# %%
zero = elman.RNNState(jnp.zeros((B, H)))
unprojected = Spec(
    cell.rule._replace(project=lambda consts, zs: zs, project_vjp=lambda consts, zs, dzs: (Consts({}), dzs))
)


def cost_of_zs(zs):
    out = differentiable(scan.SCAN)(unprojected, Inputs(Consts({"W": p["W"]}), zero, zs), vjp="manual")
    return cost_at_every_time(f(out.hs @ p["V"]))


check("the library's δᵗ, every t", jax.jit(jax.grad(cost_of_zs))(xs[1:] @ p["U"]), n.delta[1:])
check("mimo: ∂C/∂U, ∂C/∂W, ∂C/∂V", gradient_of_ours(jbptt.mimo, cost_at_every_time, p, xs[1:]), n.dp)
n_miso = truth(cost_at_the_end, p, xs)
check("miso: ∂C/∂U, ∂C/∂W, ∂C/∂V", gradient_of_ours(jbptt.miso, cost_at_the_end, p, xs[1:]), n_miso.dp)


def network_of(network):
    def function(params, xs, state, vjp="manual"):
        return network(cell, params, xs, state, activation=f, vjp=vjp)

    return function


check_twins("jbptt.miso", network_of(jbptt.miso), network_params(p), xs[1:], state)
check_twins("jbptt.mimo", network_of(jbptt.mimo), network_params(p), xs[1:], state)

# %% [markdown]
# ## 6. The LSTM
#
# The lecture names it and leaves the derivation to the reader. Four gates, each a layer of its own with the inputs
# $x^t$ and $h^{t-1}$ ($f$ is the forget gate from here on):
#
# $$\begin{aligned}
# z_k &= U_k x^t + W_k h^{t-1} + b_k \qquad k \in \{i, f, g, o\} \\
# i &= \sigma(z_i) \qquad f = \sigma(z_f) \qquad g = \tanh(z_g) \qquad o = \sigma(z_o) \\
# c^t &= f \odot c^{t-1} + i \odot g \qquad\qquad h^t = o \odot \tanh(c^t)
# \end{aligned}$$
#
# The library keeps the four side by side, `U [I, 4·H]` and `W [H, 4·H]`, so that all gates are one product. One pair of
# functions states this LSTM and its variants; where it asks for a `form`, this one has neither peepholes, nor coupled
# gates, nor gates that see gates.

# %%
show(jbptt.lstm.rule.step)
show(lstm_pair.lstm_pair, "def pointwise(", "return LSTMGatesState(h, c, i, f, o)")

# %% [markdown]
# **The paths.** Two things go from step to step, $h$ and $c$; so two gradients come back, $dh$ and $dc$. Which arrows
# leave each?
#
# ```
#   cᵗ⁻¹ ──▶ ⊙ fᵗ ──▶ + ──▶ cᵗ ──┬──────────────────────────▶ ⊙ fᵗ⁺¹ ──▶ ···     the cell state's own road
#                     ▲          │
#                   iᵗ⊙gᵗ        └──▶ tanh ──▶ ⊙ oᵗ ──▶ hᵗ ──┬──▶ the cost
#                                                            └──▶ W ──▶ zᵗ⁺¹ = the four gates of the next step
# ```
#
# $h^t$ goes to the cost, and to all four gates of the next step. With
# $\delta = (\delta_i, \delta_f, \delta_g, \delta_o)$ side by side, the four ways back are one product:
#
# $$dh^t = \frac{\partial C}{\partial h^t}\Big|_{\text{direct}} + \sum_k W_k^{\mathsf T} \delta_k^{t+1}
#        = \frac{\partial C}{\partial h^t}\Big|_{\text{direct}} + W^{\mathsf T} \delta^{t+1}$$
#
# $c^t$ goes to $h^t = o \odot \tanh(c^t)$, and to $c^{t+1} = f^{t+1} \odot c^t + \dots$:
#
# $$dc^t = dh^t \odot o^t \odot (1 - \tanh^2 c^t) + dc^{t+1} \odot f^{t+1}$$
#
# **The gates.** Each stands in one product: $o$ in $h^t$, the other three in $c^t$. The product rule gives the other
# factor, and then comes the gate's own $f'$:
#
# $$\begin{aligned}
# \delta_i &= dc \odot g \odot i\,(1 - i) & \delta_f &= dc \odot c^{t-1} \odot f\,(1 - f) \\
# \delta_g &= dc \odot i \odot (1 - g^2)  & \delta_o &= dh \odot \tanh(c^t) \odot o\,(1 - o)
# \end{aligned}$$
#
# **The weights.** Every $z_k$ is linear in its $W_k$, $U_k$, $b_k$, as ever; side by side:
#
# $$\frac{\partial C}{\partial W} = \sum_t \delta^t (h^{t-1})^{\mathsf T} \qquad
#   \frac{\partial C}{\partial U} = \sum_t \delta^t (x^t)^{\mathsf T} \qquad
#   \frac{\partial C}{\partial b} = \sum_t \delta^t$$
#
# In the library, $dc^{t+1} \odot f^{t+1}$ is made by the step that owns $f^{t+1}$, and comes in as `dc`. What is left
# of the cell is pointwise:

# %%
show(lstm_pair.lstm_pair, "def pointwise_vjp(", "return LSTMState(NO_COTANGENT, dc)")

# %% [markdown]
# $W^{\mathsf T} \delta$ and the three sums are those of every cell: `step_vjp` and `weight_vjp` of section 3, and the
# layer $U$ of section 5. The engine of section 3 carries $(dh, dc)$ as it carried $dh$.
#
# Against `jax.grad`, as before, by a shift of $z^t$, of $c^t$ and of $h^t$; the cost is
# $\sum_t \tfrac12 |h^t - s^t|^2$.

# %%
q = {"U": random(I, 4 * H), "W": random(H, 4 * H), "b": random(4 * H)}
s = random(T + 1, B, H)


def run_lstm(q, shift):
    """Every gate, c and h: [T+1, B, H] each."""
    zero = jnp.zeros((B, H))
    path = {name: [zero] for name in "ifgoch"}
    for t in range(1, T + 1):
        z = xs[t] @ q["U"] + path["h"][t - 1] @ q["W"] + q["b"] + shift["z"][t]
        z_i, z_f, z_g, z_o = jnp.split(z, 4, axis=-1)
        i, f, g, o = jax.nn.sigmoid(z_i), jax.nn.sigmoid(z_f), jnp.tanh(z_g), jax.nn.sigmoid(z_o)
        c = f * path["c"][t - 1] + i * g + shift["c"][t]
        h = o * jnp.tanh(c) + shift["h"][t]
        for name, value in zip("ifgoch", (i, f, g, o, c, h), strict=True):
            path[name].append(value)
    return SimpleNamespace(**{name: jnp.stack(values) for name, values in path.items()})


def cost_of_h(h):
    return jnp.sum((h[1:] - s[1:]) ** 2) / 2


no_shift = {"z": jnp.zeros((T + 1, B, 4 * H)), "c": jnp.zeros((T + 1, B, H)), "h": jnp.zeros((T + 1, B, H))}
n = run_lstm(q, no_shift)
dq, d = jax.jit(jax.grad(lambda q, shift: cost_of_h(run_lstm(q, shift).h), (0, 1)))(q, no_shift)
delta, dc, dh = d["z"], d["c"], d["h"]
delta_i, delta_f, delta_g, delta_o = jnp.split(delta, 4, axis=-1)
before, every = slice(0, T), slice(1, T + 1)  # the t - 1 of each t, and each t = 1..T

# %%
direct = n.h - s
tanh_c = jnp.tanh(n.c)
output_way = dh * n.o * (1 - tanh_c**2)
check("dh^T: the direct way alone", direct[T], dh[T])
check("dhᵗ = direct + Wᵀ δᵗ⁺¹, t < T", direct[now] + delta[later] @ q["W"].T, dh[now])
check("dc^T = dh^T ⊙ o ⊙ (1 − tanh² c)", output_way[T], dc[T])
check("dcᵗ = dhᵗ ⊙ o ⊙ (1 − tanh² c) + dcᵗ⁺¹ ⊙ fᵗ⁺¹", output_way[now] + dc[later] * n.f[later], dc[now])
check("δi = dc ⊙ g ⊙ i (1 − i)", (dc * n.g * n.i * (1 - n.i))[every], delta_i[every])
check("δf = dc ⊙ cᵗ⁻¹ ⊙ f (1 − f)", dc[every] * n.c[before] * (n.f * (1 - n.f))[every], delta_f[every])
check("δg = dc ⊙ i ⊙ (1 − g²)", (dc * n.i * (1 - n.g**2))[every], delta_g[every])
check("δo = dh ⊙ tanh(c) ⊙ o (1 − o)", (dh * tanh_c * n.o * (1 - n.o))[every], delta_o[every])
check("∂C/∂W = Σ_t δᵗ (hᵗ⁻¹)ᵀ", layer.weight_gradient(n.h[before], delta[every]), dq["W"])
check("∂C/∂U = Σ_t δᵗ (xᵗ)ᵀ", layer.weight_gradient(xs[every], delta[every]), dq["U"])
check("∂C/∂b = Σ_t δᵗ", layer.bias_gradient(delta[every]), dq["b"])


# %%
def cost_of_ours(q):
    _, hs = jbptt.unroll(jbptt.lstm, q, xs[1:])
    return jbptt.mse(hs, s[1:], reduction="sum")


lstm_state = lstm_pair.LSTMState(random(B, H), random(B, H))
check("lstm: ∂C/∂U, ∂C/∂W, ∂C/∂b", jax.jit(jax.grad(cost_of_ours))(q), dq)
check_twins("jbptt.lstm, any cotangent of h, c and every hᵗ", partial(jbptt.unroll, jbptt.lstm), q, xs[1:], lstm_state)

# %% [markdown]
# **Why it remembers.** Follow $dc^{t+1} \odot f^{t+1}$: along the cell state a gradient goes back by a factor $f$ a
# step, with no $W$ and no $f'$ in it. With forget gates near 1 it arrives; in sections 3 to 5 it meets $W^{\mathsf T}$
# and $f' \le \tfrac14$ at every step.
#
# ### The GRU in brief
#
# $$\begin{aligned}
# r &= \sigma(z_r + W_r h^{t-1}) \qquad u = \sigma(z_u + W_u h^{t-1}) \qquad
# n = \tanh\bigl(z_n + r \odot (W_n h^{t-1} + b_n)\bigr) \\
# h^t &= (1 - u) \odot n + u \odot h^{t-1}
# \end{aligned}$$
#
# with $z = U x^t + b$. One thing is new. The candidate $n$ sees the product with $h^{t-1}$ through $r$, so there are
# two $\delta$: one at $z$, which $U$ and $b$ get, and one at $W h^{t-1}$, whose candidate block has one more factor
# $r$, and which $W$ gets and which goes back in time.

# %%
show(gru._pointwise_vjp)
show(gru._recurrent_delta)
gru_params = {"U": random(I, 3 * H), "W": random(H, 3 * H), "b": random(3 * H), "bn": random(H)}
gru_state = gru.GRUState(random(B, H))
check_twins("jbptt.gru", partial(jbptt.unroll, jbptt.gru), gru_params, xs[1:], gru_state)

# %% [markdown]
# ## 7. The lecture's slips
#
# In five places the lecture's pages say something else than its derivation. For each: what the slip gives, as a
# relative error of the gradient, and that the derivation gives what `jax.grad` does. (An error of 1 is as large as the
# gradient itself.)


# %%
def slip(name, got, expected):
    print(f"{name:<52} slip, relative error: {error(got, expected):.1g}")


# %% [markdown]
# ### One: the cross entropy lacks its minus sign
#
# $t \log y + (1 - t) \log(1 - y)$ is at most 0 and *largest* where $y = t$. Its $\delta$ is $t - y$: whoever goes down
# this hill goes away from the targets.

# %%
z, t = random(20), jax.nn.sigmoid(random(20))
y = jbptt.sigmoid(z)


def without_minus(z):
    y = jax.nn.sigmoid(z)
    return jnp.sum(t * jnp.log(y) + (1 - t) * jnp.log(1 - y))


dz = jax.grad(lambda z: -without_minus(z))(z)
slip("without the minus sign", jax.grad(without_minus)(z), dz)
check("and what it gives is t − y", jax.grad(without_minus)(z), t - y)
check("jbptt gives y − t", jax.grad(partial(jbptt.binary_cross_entropy, reduction="sum"))(z, t), dz)

# %% [markdown]
# ### Two: $(y\,t)$ stands for $(y - t)$
#
# A minus got lost, and a difference became a product. $y\,t$ is not even zero where $y = t$.

# %%
y, t = random(20), random(20)
dy = jax.grad(lambda y: jnp.sum((y - t) ** 2) / 2)(y)
slip("(y t)", y * t, dy)
check("(y − t)", y - t, dy)
check("jbptt.mse", jax.grad(partial(jbptt.mse, reduction="sum"))(y, t), dy)

# %% [markdown]
# ### Three: SIMO writes $z^{o,t} = V a^{o,t}$ for $V a^{1,t}$
#
# (In the lecture's SIMO the hidden layer has the index 1: its $a^{1,t}$ is our $a^t$.) $a^{o,t} = f(z^{o,t}) = y^t$ is
# the output itself: the equation would define $z^{o,t}$ by itself. And $V$ takes the $H$ entries of the hidden layer,
# not the $O$ of the output.

# %%
n = truth(cost_at_every_time, p, first_x_only)
try:
    n.y[1] @ p["V"]
except TypeError:
    print(f"V is [H, O] = {list(p['V'].shape)}, a°ᵗ has O = {n.y.shape[-1]} entries: there is no such product")
_, ys = jbptt.simo(cell, network_params(p), xs[1], T, activation=f)
check("yᵗ = f(V a¹ᵗ)", ys, f(n.a[1:] @ p["V"]))

# %% [markdown]
# Were there as many outputs as hidden units, the product would exist, and the slip would go on into the gradient,
# $\sum_t \delta^{o,t} (a^{o,t})^{\mathsf T}$:

# %%
square = p | {"V": random(H, H)}
square_targets = jax.nn.sigmoid(random(T, B, H))


def hidden(p):
    return run(p, first_x_only)[0][1:]


def cost_of_V(V):
    return jnp.sum((f(hidden(p) @ V) - square_targets) ** 2) / 2


a, y = hidden(p), f(hidden(p) @ square["V"])
delta_o = (y - square_targets) * f.prime(y)
dV = jax.grad(cost_of_V)(square["V"])
slip("∂C/∂V with a°ᵗ", layer.weight_gradient(y, delta_o), dV)
check("∂C/∂V with a¹ᵗ", layer.weight_gradient(a, delta_o), dV)

# %% [markdown]
# ### Four: the summaries of SIMO and MIMO write $W^{\mathsf T} \delta^{1,t}$ for $W^{\mathsf T} \delta^{1,t+1}$
#
# $\delta^{1,t} = (V^{\mathsf T} \delta^{o,t} + W^{\mathsf T} \delta^{1,t}) \odot f'(z^{1,t})$ has $\delta^{1,t}$ on
# both sides. A program that looks there, on its way back, finds the zeros that it began with, and nothing goes back in
# time. Here is the recursion as a loop, with a switch for this slip and for the next:


# %%
def deltas(n, *, delay=1, last=T):
    """δᵗ for t = last..1, by the general equation at every t. δ is 0 until it is computed."""
    delta = jnp.zeros((T + 2, B, H))
    for t in range(last, 0, -1):
        direct = n.delta_o[t] @ p["V"].T
        delta = delta.at[t].set((direct + delta[t + delay] @ p["W"].T) * f.prime(n.a[t]))
    return delta[: T + 1]


def gradient_of_W(n, **switch):
    return layer.weight_gradient(n.a[now], deltas(n, **switch)[later])


networks = {"SIMO": truth(cost_at_every_time, p, first_x_only), "MIMO": truth(cost_at_every_time, p, xs)}
for name, n in networks.items():
    slip(f"{name}: ∂C/∂W with Wᵀ δ¹ᵗ", gradient_of_W(n, delay=0), n.dp["W"])
    check(f"{name}: ∂C/∂W with Wᵀ δ¹ᵗ⁺¹", gradient_of_W(n), n.dp["W"])

# %% [markdown]
# Or one takes it at its word, as an equation to be solved for $\delta^{1,t}$. That can be done, and is wrong as well:


# %%
def solved(direct, prime):
    """δ = (direct + Wᵀ δ) ⊙ f′, solved for δ: one sequence at one time."""
    return jnp.linalg.solve(jnp.eye(H) - prime[:, None] * p["W"], prime * direct)


for name, n in networks.items():
    delta = jax.vmap(jax.vmap(solved))(n.delta_o @ p["V"].T, f.prime(n.a))
    slip(f"{name}: ∂C/∂W, Wᵀ δ¹ᵗ solved for", layer.weight_gradient(n.a[now], delta[later]), n.dp["W"])

# %% [markdown]
# ### Five: "for $t = 1..T-1$" heads a list that holds $T$
#
# The list has an equation for $T$ of its own, $\delta^T = V^{\mathsf T} \delta^{o,T} \odot f'(z^T)$, because $T$ has no
# step after it. Who does only what the heading says, $t = T-1..1$, never computes $\delta^T$, and the cost at $T$ is
# lost, from the last step and from all that lead there:

# %%
for name, n in networks.items():
    slip(f"{name}: ∂C/∂W, δ^T left out", gradient_of_W(n, last=T - 1), n.dp["W"])

# %% [markdown]
# In SISO, where the only cost is at $T$, nothing at all would be left. Who applies the *general* equation at $T$ needs
# a $\delta^{T+1}$; with 0 for it, the general equation *is* the one for $T$. This is how the library has one line for
# every $t$: its way back begins with the cotangent of the final state in the place of $W^{\mathsf T} \delta^{T+1}$,
# zero when no cost looks at that state.

# %%
n = truth(cost_at_the_end, p, first_x_only)
slip("SISO: ∂C/∂W, δ^T left out", gradient_of_W(n, last=T - 1), n.dp["W"])
check("SISO: the general equation at T, with δ^{T+1} = 0", deltas(n)[1:], n.delta[1:])
for name, n in networks.items():
    check(f"{name}: the general equation at T, with δ^{{T+1}} = 0", deltas(n)[1:], n.delta[1:])

# %% [markdown]
# ## 8. What it is good for: time and memory
#
# "No weight gradient is needed to go back in time" can be read in the programs. `jax.grad` of a scan does not know that
# $\partial C / \partial W$ could wait. Its scan back in time has that gradient in its carry, and adds a product of its
# shape at every step. The hand-derived scan carries $dh$ and $dc$, and an array $[T, B, 4H]$ into which it writes each
# $\delta^t$, in place.


# %%
def inner(equation):
    """The programs inside an equation of a program."""
    for parameter in equation.params.values():
        for candidate in parameter if isinstance(parameter, (tuple, list)) else [parameter]:
            candidate = getattr(candidate, "jaxpr", candidate)
            if hasattr(candidate, "eqns"):
                yield candidate


def equations(jaxpr):
    for equation in jaxpr.eqns:
        yield equation
        for program in inner(equation):
            yield from equations(program)


def scan_back(vjp):
    """The one scan that goes back in time, in the program of the LSTM's gradient."""

    def cost(q):
        return jnp.sum(jbptt.unroll(jbptt.lstm, q, xs[1:], vjp=vjp)[1] ** 2)

    program = jax.make_jaxpr(jax.grad(cost))(q).jaxpr
    (scan,) = [e for e in equations(program) if e.primitive.name == "scan" and e.params["reverse"]]
    return scan


print(f"∂C/∂W is {[H, 4 * H]}")
for vjp in ("manual", "auto"):
    scan = scan_back(vjp)
    results = [list(v.aval.shape) for v in scan.outvars]  # the carry after the last step, and what was stacked
    products = sum(e.primitive.name == "dot_general" for program in inner(scan) for e in equations(program))
    weights = "holds" if [H, 4 * H] in results else "does not hold"
    print(f"{vjp:>6}: the carry {weights} ∂C/∂W; products with a matrix at every step back: {products}")

# %% [markdown]
# The one product at every step back is $W^{\mathsf T} \delta$; `jax.grad`'s second one is
# $\delta^t (h^{t-1})^{\mathsf T}$, thin (a matrix of $B$ rows at a time) and of the size of the weights. It costs a
# pass over an $H \times 4H$ array at each of $T$ steps, where the hand-derived way makes one product of $T B$ rows, at
# which processors are good.
#
# Memory: what the way back must keep is of the size $T B H$ for both. How much time and memory both take depends on the
# machine and on the sizes. See for yourself (the command `jbptt compare` does it for everything in the library):
#
# ```python
# print(jbptt.compare(
#     partial(jbptt.unroll, jbptt.lstm), partial(jbptt.unroll, jbptt.lstm, vjp="auto"), params, xs
# ))
# ```
