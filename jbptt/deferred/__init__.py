"""`jbptt.scan`: `lax.scan` for any body, with the gradients of its large weights taken after the backward scan."""
