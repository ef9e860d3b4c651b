"""The authors' released code, run on small models to record what it computes: `python run.py record`."""
