"""What forged outcomes cost, and what trust saves of it.

__main__.py    a tenth of flights' labels turned in five ways, learned whole
alarms.py      ranges that trust finds by itself: alarms without an attack, and slices turned one after the other
"""
