"""What else may be in a graph with ToCa Cache, one file per kind; `graph.condition` enters each."""
