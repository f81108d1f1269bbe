"""What several experts say, made one answer.

mixture.py     of one label
several.py     of K labels, any of which may apply
softmax.py     of K classes
number.py      of a number
policies.py    of K actions
orders.py      of K items
"""
