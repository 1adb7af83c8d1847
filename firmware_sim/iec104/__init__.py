"""IEC 60870-5-104, the controlled station: points and files of one device; only ``server`` touches sockets."""
