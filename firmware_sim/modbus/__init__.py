"""Modbus TCP, server side: framing and answers are pure, only ``server`` touches sockets."""
