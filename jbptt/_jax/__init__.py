"""Every use of a name that JAX does not promise, and what is made of them. Nothing else in the library has any.

calls      a primitive that stands for a function with rules of its own
types      what arrays' types tell of devices
programs   jaxprs, read and run
"""
