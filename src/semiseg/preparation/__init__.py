"""A scan to network input and back: fingerprint, plan, resampling, and the store of prepared cases."""
