"""Whole numbers for weights and inputs.

quantize.py    the one rounding rule, and training through it
layers.py      layers under masks and fake quantization
attention.py   attention among them
int8.py        the layer that runs on int8 kernels
"""
