"""safetensors files as NumPy arrays and texts: 8 bytes, the length of a header in JSON that has every array's dtype,
shape and place; the header; and the arrays. Nothing in them is ever executed."""

import errno
import json
import os
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from jbptt.interop.network import library
from jbptt.interop.writing import write_atomically

INSTALLED_BY = "pip install 'jbptt[interop]'"

DTYPES = {
    "F64": np.dtype("float64"),
    "F32": np.dtype("float32"),
    "F16": np.dtype("float16"),
    "BF16": np.dtype(jnp.bfloat16),
    "I64": np.dtype("int64"),
    "I32": np.dtype("int32"),
    "I16": np.dtype("int16"),
    "I8": np.dtype("int8"),
    "U64": np.dtype("uint64"),
    "U32": np.dtype("uint32"),
    "U16": np.dtype("uint16"),
    "U8": np.dtype("uint8"),
    "BOOL": np.dtype("bool"),
}


def read_arrays(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """(the arrays, the texts beside them) of a file.

    Raises ValueError, naming the file, if it is no whole safetensors file or has a dtype that is not in DTYPES; OSError
    if it cannot be read; ImportError without safetensors.
    """
    safetensors, path = library("safetensors", INSTALLED_BY), Path(path)
    if path.exists() and not path.is_file():  # a device may have no end
        raise ValueError(f"{path} is no file")
    content = path.read_bytes()
    try:
        entries = safetensors.deserialize(content)  # which checks the header's length, and every dtype, shape and place
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        return {name: _array(name, entry) for name, entry in entries}, header.get("__metadata__") or {}
    except (safetensors.SafetensorError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no whole safetensors file: {in_short(error)}") from None


def write_arrays(path: str | os.PathLike, arrays: dict[str, np.ndarray], texts: dict[str, str]) -> None:
    """Writes a file, which is there whole or not at all.

    Raises OSError, naming the file or the folder that is not there, if it cannot be written, ImportError without
    safetensors.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not path.parent.exists():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path.parent))
    save = library("safetensors.numpy", INSTALLED_BY).save
    write_atomically(path, save({name: np.asarray(array, order="C") for name, array in arrays.items()}, texts))


def in_short(error: Exception) -> str:
    """Its message, of which a file may be the author, in one line of at most 300 printable characters."""
    return "".join(filter(str.isprintable, " ".join(str(error).split())))[:300]


def _array(name, entry):
    if entry["dtype"] not in DTYPES:
        raise ValueError(f"{name} has the dtype {entry['dtype']}, and it must be one of {', '.join(DTYPES)}")
    return np.frombuffer(entry["data"], DTYPES[entry["dtype"]]).reshape(entry["shape"])
