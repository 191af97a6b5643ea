"""`unroll`'s options again, sequence by sequence over the NumPy loops: an oracle that shares no code."""

import numpy as np
from numpy_loops import CELL_LOOPS


def unroll(
    cell_name, params, xs, state, *, lengths=None, mask=None, resets=None, reset_state=None, reverse=False, stay=None
):
    """(state, hs): every example by itself, only the steps that it has, from one reset to the next."""
    T, B, _ = xs.shape
    finals, outputs = [], []
    for b in range(B):
        length = T if lengths is None else lengths[b]
        at = [field[b : b + 1] for field in state]
        start = at if reset_state is None else [field[b : b + 1] for field in reset_state]
        hs = np.zeros((T, *state[0].shape[1:]))
        steps = [t for t in range(length) if mask is None or mask[t, b]]
        for t in reversed(steps) if reverse else steps:
            at = start if resets is not None and resets[t, b] else at
            made, _ = CELL_LOOPS[cell_name](params, xs[t : t + 1, b : b + 1], at)
            if stay is not None:  # [T, B or 1, H or 1] of each field: 1, it stays; 0, it does not; or a part of it
                parts = [
                    np.broadcast_to(k[t], (len(xs[t]), *np.shape(m)[1:]))[b : b + 1]
                    for k, m in zip(stay, made, strict=True)
                ]
                made = [np.where(k == 0, m, k * a + (1 - k) * m) for k, a, m in zip(parts, at, made, strict=True)]
            at = made
            hs[t] = at[0][0]
        finals.append(at)
        outputs.append(hs)
    return [np.concatenate(fields) for fields in zip(*finals, strict=True)], np.stack(outputs, axis=1)
