"""Simulated substation devices with their protocol servers, faults and scenarios."""
