"""A model in, a smaller one out.

    compress.py    a model through a recipe, into an artifact
    carry_out.py   a recipe's steps, taken in their order
    recipe.py      the chain of steps, as text and JSON
    steps.py       the steps: prune, prune_structured, quantize, retrain, distill
    errors.py      every error that compression raises
    data.py        the rows to learn and measure on, and what a task must give
    internals.py   torch's private parts, and the versions of torch that have them
    form.py        the training form of a model: layers under masks and fake quantization
    checks.py      models, rows and tasks that do not go together
    pruning/       masks, and whole units removed
    quantization/  one rounding rule, the layers that train under it, and int8 kernels
    distillation/  what a teacher adds to the loss, and the training step
    artifact/      the file that is served
    engines/       other ways to run it, and which is fastest here
    advisor/       many recipes tried, one named

Imports nothing else of ours.
"""
