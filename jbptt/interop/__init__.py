"""Parameters from and to other libraries, exactly."""

from jbptt.interop.torch import from_torch as from_torch, to_torch as to_torch
