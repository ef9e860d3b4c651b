"""Every graph that ToCa Cache may stand in, tried on tiny models: {other nodes} x {settings} x {models} (`run.py test --matrix`).

    graph         what a graph is, and the list of conditions: what else is in it
    conditions/   the conditions, one file per kind
    subjects      the models
    settings      the settings of ToCa Cache, with the error that each may make
    watch         counts what a model really computes, beside what a report says of it
    row           one condition on one model, with all settings: what must hold, and how it came out
    selection     the few cells of the quick part, in which every pair of kinds meets
    page          docs/trust.md
"""
