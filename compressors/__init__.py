"""A model in, a smaller one out: prune, quantize, distill, and the artifact that is served."""
