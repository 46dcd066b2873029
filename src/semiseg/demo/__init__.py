"""A small synthetic study from end to end: make data, train two ways, predict, evaluate, compare."""
