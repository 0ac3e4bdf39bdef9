"""Writing part of an object: managed fields, server-side apply and the patch formats."""
