"""C++ kernels for the CPU, called by `jax.ffi`: optional, built where there is a compiler."""
