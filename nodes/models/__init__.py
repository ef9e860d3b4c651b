"""Which models can be cached, and the model classes the host lacks."""
