"""Which backend runs what."""

from jbptt.backends.cpu.backend import CPU
from jbptt.backends.protocol import Backend, BackendStatus
from jbptt.backends.scan import SCAN
from jbptt.recurrence.inputs import Inputs, Spec

BACKENDS: tuple[Backend, ...] = (CPU, SCAN)
"""In the order of preference. The last runs everything."""

OTHER_NAMES = {"native": "cpu", "xla": "scan"}


def backends() -> dict[str, BackendStatus]:
    """What can run a recurrence, by the names that `unroll(backend=)` takes: "scan", always, and "cpu", C++ kernels,
    where they are built."""
    status = {backend.name: backend.status() for backend in BACKENDS}
    return status | {other: status[name] for other, name in OTHER_NAMES.items()}


def choose(spec: Spec, inputs: Inputs, wanted: str | Backend | None) -> Backend:
    """The backend of that name, or that is given, or for None the first that can and is preferred.

    Raises ValueError for an unknown name, and for a backend that cannot run this: with the reason of every one.
    """
    by_name = {backend.name: backend for backend in BACKENDS}
    names = [*by_name, *OTHER_NAMES]
    if not isinstance(wanted, Backend | None) and (not isinstance(wanted, str) or wanted not in names):
        raise ValueError(f"backend must be one of {names}, a jbptt.Backend or None, got {wanted!r}")
    if inputs.xs is None or inputs.xs.size == 0 or inputs.state.h.size == 0:
        return SCAN  # nothing to run, or nothing that the others know
    if wanted is None:
        return next(b for b in BACKENDS if b.unsupported(spec, inputs) is None and b.preferred(spec, inputs))
    backend = wanted if isinstance(wanted, Backend) else by_name[OTHER_NAMES.get(wanted, wanted)]
    if backend.unsupported(spec, inputs) is None:
        return backend
    reasons = {b.name: b.unsupported(spec, inputs) for b in (backend, *BACKENDS)}
    told = "; ".join(f"{name}: {reason or 'it can'}" for name, reason in reasons.items())
    raise ValueError(f"backend={backend.name if isinstance(wanted, Backend) else wanted!r} cannot run this. {told}")
