"""Other ways to run a serving model.

engine.py      the engines, and the layers that they exchange
onnx.py        the model as an ONNX file
fastest.py     which engine is fastest on this machine, and agrees
"""
