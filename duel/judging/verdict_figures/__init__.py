"""The figures of the verdict: each module registers a function of the evidence that gives fields of the verdict."""
