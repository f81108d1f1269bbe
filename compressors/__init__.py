"""A model in, a smaller one out.

    compress.py    a model through a recipe, into an artifact
    carry_out.py   a recipe's steps, carried out in their order
    recipe.py      the chain of steps, as text and JSON
    steps.py       the steps: prune, prune_structured, quantize, retrain, distill
    errors.py      every error that compression raises
    arguments.py   the parameters of what a user makes: the nearest known name, numbers that are numbers
    scale.py       the mean and spread of a regression's labels, which a model carries
    data.py        rows to learn and measure on, and what compression needs of a task
    rows.py        rows as tensors, or as anything that is made a batch when it is needed
    reading.py     a user's values as rows and labels
    answers.py     the answers of models to many rows, within bytes
    norms.py       training norms on any number of rows, and leaving frozen ones alone
    internals.py   torch's private parts, and the versions of torch that have them
    form.py        the training form of a model: layers under masks and fake quantization
    checks.py      refusals of models
    agreement.py   refusals of models, rows and tasks that do not agree
    dry_run.py     a model answers twice, takes one step, is saved and loaded, before it is trained
    weight_reads.py which weights a model reads past their layers
    wrappers.py    the model inside DataParallel, torch.compile, AveragedModel
    pruning/       masks, and whole units removed
    quantization/  one rounding rule, the layers that train under it, and int8 kernels
    distillation/  the loss that a teacher adds, and the training loop
    artifact/      the file that is served
    engines/       other ways to run it, and which is fastest here
    advisor/       many recipes tried, one picked

Imports nothing else of ours.
"""
