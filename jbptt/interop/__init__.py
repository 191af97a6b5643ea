"""Parameters from and to other libraries, exactly: each library's file tells its conventions."""

from jbptt.interop.equinox import from_equinox as from_equinox, to_equinox as to_equinox
from jbptt.interop.flax import from_flax as from_flax, to_flax as to_flax
from jbptt.interop.haiku import from_haiku as from_haiku, to_haiku as to_haiku
from jbptt.interop.keras import from_keras as from_keras, to_keras as to_keras
from jbptt.interop.torch import from_torch as from_torch, to_torch as to_torch
