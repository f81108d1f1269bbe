"""Step 2: fewer bits for each weight, with and without training through the rounding. A small CNN on digits.

Shows what rounding a trained net to int8, int4 and bfloat16 costs, how much training with fake quantization regains,
that the artifact answers as the training form does (parity), and pruning and quantization in one recipe.

    python examples/compress/quantize_and_retrain.py [--images mnist] [--rows 600]
"""

import torch
from images import TRAINING, folds, plain, read_arguments, tried

INT4 = "quantize(int4, group=32, layers=linear)"  # convolutions keep float: fewer than 8 bits lose too much there
RECIPES = {
    "int8, ranges by row": "quantize(int8)",
    "int8, trained through": f"quantize(int8) -> {TRAINING}",
    "int8, static ranges": "quantize(int8, inputs=static)",
    "static, trained through": f"quantize(int8, inputs=static) -> {TRAINING}",
    "int4 linear, groups of 32": INT4,
    "int4 linear, trained through": f"{INT4} -> {TRAINING}",
    "int2 linear": INT4.replace("int4", "int2"),
    "int2 linear, trained through": f"{INT4.replace('int4', 'int2')} -> {TRAINING}",
    "bfloat16": "quantize(bfloat16)",
    "50 % pruned, retrained, int8": f"prune(amount=0.5) -> {TRAINING} -> quantize(int8) -> {TRAINING}",
    "80 % pruned, retrained, int8": f"prune(amount=0.8) -> {TRAINING} -> quantize(int8) -> {TRAINING}",
}


def main(images: str, rows: int) -> None:
    """Print a row for each recipe."""
    nets = folds(images, rows)
    size, before, control = plain(nets)
    print(f"{'recipe':30} {'accuracy, %':>12} {'loss':>8} {'bytes':>9} {'smaller':>9} {'parity':>9}")
    print(f"{'float':30} {before:>12.2f} {'':>8} {size:>9,}")
    print(f"{'float, trained on as long':30} {control:>12.2f} {'':>8} {size:>9,}")
    for name, recipe in RECIPES.items():
        made, like = tried(nets, recipe), control if TRAINING in recipe else before
        print(
            f"{name:30} {made.accuracy:>12.2f} {like - made.accuracy:>8.2f} {made.bytes:>9,.0f} "
            f"{size / made.bytes:>8.1f}× {made.parity:>9.1e}"
        )
    print("\nloss: in accuracy, compared with the float net that was trained as long")
    print("parity: the largest difference between artifact and training form, as a share of the largest output")


if __name__ == "__main__":
    torch.set_num_threads(1)
    arguments = read_arguments(__doc__)
    main(arguments.images, arguments.rows)
