"""Quantization: whole numbers in place of floats, for weights and inputs.

quantize.py    the one rounding rule, and how gradients pass through it
layers.py      layers that compute under masks and fake quantization
attention.py   nn.MultiheadAttention, as one of these layers
int8_weight.py a weight in int8 that is asked as the float one would be
int8.py        the layer that runs on int8 kernels
"""
