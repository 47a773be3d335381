"""The fused engine's programs in C."""
