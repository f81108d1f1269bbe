"""What is shown of versions, and of what becomes one.

lineage.py     what has served, and what it was made of
rebuild.py     how a version made again looks
receipts.py    how a receipt looks
backtest.py    how other policies' decisions look
changes.py     how a pipeline that has changed looks
compression.py how a model compressed looks
"""
