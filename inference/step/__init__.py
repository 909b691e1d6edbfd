"""The step of stochastic variational inference: a pure function, traced, unrolled, compiled or captured."""
