"""Other ways to run a serving model.

engine.py      the engines, and the layers that they exchange
onnx.py        the model as an ONNX file
fastest.py     which engine is fastest on this machine, and agrees
arithmetic.py  how a version multiplies: mixed, float or row8
template.py    the ONNX file without weights, and a version's weights in it
choose.py      the arithmetic of a version, proven
"""
