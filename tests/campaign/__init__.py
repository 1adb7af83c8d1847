"""The detection campaign: every fault of the simulator's catalogue, at random, on many devices at once.

The simulator is a process of its own; the agent's pollers read it over real sockets, gateways sign what they read, and
the contracts of a real ledger appraise it by releases made from the release folders. A fault that leaves changed bytes
must raise its alarm at the next poll that ends, which returns when the device is right again; nothing else may ever
raise one.
"""
