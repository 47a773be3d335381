"""The fused engine's programs as Triton kernels."""
