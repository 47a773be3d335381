"""The fused engine: a model's step, traced once and run as one program over all steps."""
