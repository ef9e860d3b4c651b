"""Runs the host's own templates with ToCa Cache in them, on tiny stand-ins for the models that they name."""
