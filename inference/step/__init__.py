"""The step of stochastic variational inference: a pure function, traced, compiled or captured."""
