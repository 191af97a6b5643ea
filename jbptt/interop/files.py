"""Parameters and what they belong to in one file, safetensors: written whole or not at all, and nothing is executed."""

import json
import os
from importlib.metadata import version
from typing import Any

import numpy as np

from jbptt import checks
from jbptt._jax import types
from jbptt.interop.describing import described, made_again
from jbptt.interop.network import to_jax
from jbptt.interop.safetensors import in_short, read_arrays, write_arrays

FORMAT = "jbptt 1"
"""What a file says it is; the number changes when what is written here can no longer be read by what came before."""


def save(path: str | os.PathLike, params: Any, config: Any = None) -> None:
    """Writes parameters into a safetensors file, which any reader of such files can read.

    - `path`: a killed program leaves the file that was there before or the new one, never a part.
    - `params`: dicts, lists and tuples of arrays of float32, float64 or bfloat16, as the library's parameters are; the
      keys are identifiers. In the file each array's name is its way there, "encoder.0.U".
    - `config`: what `load` is to give back: texts, numbers, True, False, None, lists, tuples and dicts of such, and
      cells, `Bidirectional`s and `Seq2Seq`s, as {"layers": [jbptt.lstm], "units": 128}.

    The file names the version of the library and, in JSON, the config and the structure of the parameters. Raises
    TypeError or ValueError, naming what, for anything that a file cannot hold (a cell or activation of your own, say);
    OSError if the file cannot be written; ImportError without safetensors (pip install 'jbptt[interop]').
    """
    arrays: dict[str, np.ndarray] = {}
    structure = _structure("", params, arrays)
    texts = {"format": FORMAT, "version": version("jbptt"), "params": json.dumps(structure)}
    write_arrays(path, arrays, texts | {"config": json.dumps(described("config", config), allow_nan=False)})


def load(path: str | os.PathLike) -> tuple[Any, Any]:
    """(params, config) of a file that `save` wrote: the same structure, dtypes and bits.

    Raises ValueError, naming the file, for one that `save` did not write, or that was damaged or made up; TypeError for
    float64 where JAX has none (jax_enable_x64); OSError if it cannot be read; ImportError without safetensors.
    """
    arrays, texts = read_arrays(path)
    if texts.get("format") != FORMAT:
        of = texts.get("format", "nothing")[:20]
        raise ValueError(f"{path} must say that its format is {FORMAT!r}, and says {of!r}: jbptt.save did not write it")
    try:
        structure, config = json.loads(texts["params"]), made_again(json.loads(texts["config"]))
        params = _filled(str(path), "", structure, arrays)
        if arrays:
            raise ValueError(f"there is no place for {', '.join(sorted(arrays)[:5])}")
    except (KeyError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not what jbptt.save writes: {in_short(error)}") from None
    return params, config


def _structure(name, node, arrays):
    """The node without its arrays, which go into `arrays` by their names."""
    if node is None:
        return None
    if type(node) is dict:
        return {key: _structure(_of_key(name, key), child, arrays) for key, child in node.items()}
    if type(node) in (list, tuple):
        children = [_structure(_joined(name, number), child, arrays) for number, child in enumerate(node)]
        return children if isinstance(node, list) else {"$tuple": children}
    if types.is_traced(node):
        raise TypeError(
            f"params{name and '.'}{name} is traced, and a file needs its numbers: call save outside of jax.jit"
        )
    if hasattr(node, "_asdict"):
        raise TypeError(f"params{name and '.'}{name} is a {type(node).__name__}: make it a dict with its _asdict()")
    dtype = getattr(node, "dtype", None)
    if dtype is None or dtype not in checks.DTYPES or not name:  # NumPy takes None for float64
        raise TypeError(
            f"params{name and '.'}{name} must be dicts, lists and tuples of arrays of float32, float64 or bfloat16, "
            f"got {dtype or type(node).__name__}"
        )
    arrays[name] = np.asarray(node)
    return "array"


def _filled(path, name, node, arrays):
    """What `_structure` was given; takes the arrays out of `arrays`."""
    if node is None:
        return None
    if node == "array":
        if name not in arrays:
            raise ValueError(f"there is no array {name!r}")
        if (array := arrays.pop(name)).dtype not in checks.DTYPES:
            raise ValueError(f"{name} must be float32, float64 or bfloat16, and is {array.dtype}")
        return to_jax(f"{path}: {name}", array)
    is_tuple = isinstance(node, dict) and list(node) == ["$tuple"]
    children = node["$tuple"] if is_tuple else node
    if isinstance(children, list):
        filled = [_filled(path, _joined(name, number), child, arrays) for number, child in enumerate(children)]
        return tuple(filled) if is_tuple else filled
    if isinstance(children, dict) and not is_tuple:
        return {key: _filled(path, _of_key(name, key), child, arrays) for key, child in children.items()}
    raise ValueError(f"{name or 'params'} is neither a dict nor a list nor an array")


def _joined(name, key):
    return f"{name}.{key}" if name else str(key)


def _of_key(name, key):
    """The name of a dict's entry."""
    if not isinstance(key, str) or not key.isidentifier():
        raise ValueError(f"params{name and '.'}{name} must have identifiers for keys, as U, got {key!r}")
    return _joined(name, key)
