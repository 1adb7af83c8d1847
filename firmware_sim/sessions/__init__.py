"""Sessions: what a client asked and a device answered, recorded by a proxy and served again without the device."""
