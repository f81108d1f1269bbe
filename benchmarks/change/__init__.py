"""How fast each learner follows a world that changes: loss by 250 samples after the change.

__main__.py   plays all, prints the tables and one line of JSON
worlds.py     feeds whose world changes: abruptly, gradually, to and fro, ten times
product.py    the product's learner, drift, distiller and gate, in event time
others.py     a network that is trained again on the new world alone; River's trees
"""
