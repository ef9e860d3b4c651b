"""The only code that knows the host's patcher, wrappers and samplers."""
