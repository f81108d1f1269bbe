"""Two sets of tests: `make test` runs the short ones, `make test-all` also the ones marked `long`.

Long are all tests in `faults`, all that run on a second broker or store (a parameter named in `conftest.SECOND`), and
those that say `pytest.mark.long`: full runs of the loop, restarts of Ray, Sentinel, Kafka's users and rights, mutants
of the join's script, the slowest exports, and the examples.
What is short runs on the embedded broker and store. A test waits for an event; its time limit is against a hang alone.
Both commands end with the ten slowest tests (`slowest.py`).
"""
