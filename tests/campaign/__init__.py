"""The detection campaign: every fault of the simulator's catalogue, at random, on many devices at once.

The simulator is a process of its own; the agent's pollers read it over real sockets, and the appraisal rules judge
what they read by references made from the release folders. A fault that leaves changed bytes must lead to its verdict
at the next poll that ends, and nothing else may ever lead to one.
"""
